"""The web process: our own routes first, the pages mounted last at "/"."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from sqlalchemy import text
from starlette.background import BackgroundTask
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app import surveyor
from app.pages import adapters, batch, datasets, home, jobs, leaderboard, playground, wizard, workers
from app.pages.theme import theme
from app.services import adapters as adapter_files
from app.services import batches, chat, runfiles, spread
from app.services import datasets as dataset_files
from db import files
from db.session import session
from db.settings import settings
from prolora.errors import StudioError

STATIC = Path(__file__).resolve().parent.parent / "static"
PAGES = (datasets, wizard, jobs, batch, leaderboard, playground, adapters, workers)
LOOPBACK = ("127.0.0.1", "localhost")
CACHE_SECONDS = 3600


def create_app() -> FastAPI:
    app = FastAPI(title="PRoLoRA Studio", docs_url=None, redoc_url=None, openapi_url=None)
    app.get("/healthz")(healthz)
    app.get("/readyz")(readyz)
    app.get("/logo.svg")(logo)
    app.get("/download/adapter/{adapter_id}/compact.zip")(download_compact)
    app.get("/download/adapter/{adapter_id}/expanded.zip")(download_expanded)
    app.get("/download/batch/{batch_id}.csv")(download_batch)
    app.get("/download/job/{job_id}/run.yaml")(download_run)
    app.get("/download/dataset/{dataset_id}/rejects.jsonl")(download_rejects)
    app.get("/download/dataset/{dataset_id}/rejects-original")(download_originals)
    mount(app)
    # Outside of Gradio's own: with a Host other than localhost that one lets any origin in, with credentials.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts())
    return app


def mount(app: FastAPI) -> None:
    """Gradio, last, since it answers every path that nobody took before it."""
    chosen = settings()
    os.environ["GRADIO_TEMP_DIR"] = str(files.uploads_dir() / "gradio")
    gr.mount_gradio_app(
        app,
        build(),
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        favicon_path=str(STATIC / "logo.svg"),
        max_file_size=f"{chosen.max_upload_mb}mb",
        ssr_mode=False,
        mcp_server=False,
        show_error=True,
        theme=theme(),
        css_paths=STATIC / "style.css",
        head_paths=STATIC / "head.html",
    )


def build() -> gr.Blocks:
    demo: gr.Blocks
    with gr.Blocks(
        analytics_enabled=False, title="PRoLoRA Studio", delete_cache=(CACHE_SECONDS, CACHE_SECONDS)
    ) as demo:
        home.build(demo)
    for page in PAGES:
        with demo.route(page.TITLE, page.PATH) as route:
            page.build(route)
    return demo


def healthz() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


def readyz() -> JSONResponse:
    """The database answers too; the model server is told about, not waited for."""
    try:
        with session() as s:
            s.execute(text("SELECT 1"))
        return JSONResponse({"status": "ok", "serving": chat.serving().state})
    except Exception as error:  # noqa: BLE001  # whatever it is, the answer is that we are not ready
        return JSONResponse({"status": "no database", "detail": type(error).__name__}, status_code=503)


def logo() -> FileResponse:
    return FileResponse(STATIC / "logo.svg", media_type="image/svg+xml")


async def download_compact(adapter_id: int) -> Response:
    return await _send(adapter_files.compact_zip, adapter_id, "compact")


async def download_expanded(adapter_id: int) -> Response:
    return await _send(adapter_files.expanded_zip, adapter_id, "expanded")


def download_batch(batch_id: int) -> Response:
    with _not_found():
        text = spread.table_csv(batches.overview(batch_id))
    named = {"Content-Disposition": f'attachment; filename="batch-{batch_id}.csv"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=named)


def download_run(job_id: int) -> Response:
    with _not_found():
        text = runfiles.export(job_id)
    named = {"Content-Disposition": f'attachment; filename="job-{job_id}-run.yaml"'}
    return Response(text, media_type="application/yaml; charset=utf-8", headers=named)


def download_rejects(dataset_id: int) -> FileResponse:
    with _not_found():
        path = dataset_files.rejects_file(dataset_id)
    return FileResponse(path, media_type="application/jsonl", filename=f"dataset-{dataset_id}-rejects.jsonl")


def download_originals(dataset_id: int) -> FileResponse:
    with _not_found():
        path, name = dataset_files.originals_file(dataset_id)
    return FileResponse(path, media_type="application/octet-stream", filename=name)


async def _send(make: Callable[[int], Path], adapter_id: int, form: str) -> Response:
    with _not_found():
        line = await run_in_threadpool(adapter_files.find_adapter, adapter_id)
        path = await run_in_threadpool(make, adapter_id)
    remove = BackgroundTask(path.unlink, missing_ok=True)
    return FileResponse(path, media_type="application/zip", filename=f"{line.name}-{form}.zip", background=remove)


@contextmanager
def _not_found() -> Iterator[None]:
    try:
        yield
    except StudioError as error:
        raise HTTPException(404, escape(str(error))) from error
    except OverflowError as error:  # SQLite's word for a number of more than 64 bits
        raise HTTPException(404, "Nothing has so large a number.") from error


def _hosts() -> list[str]:
    """Only names of our own: a page elsewhere that rebinds its name to us gets nothing."""
    chosen = settings()
    allowed = (name.strip() for name in chosen.allowed_hosts.split(","))
    return [*LOOPBACK, chosen.host, *(name for name in allowed if name)]


def main() -> None:
    chosen = settings()
    surveyor.attend()
    config = uvicorn.Config(
        create_app(),
        host=chosen.host,
        port=chosen.port,
        log_level="info",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
