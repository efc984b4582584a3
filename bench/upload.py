"""How fast a file of 1 GB and 700,000 rows is read, checked and stored, and how soon a page shows its rows.

    python -m bench.upload           # prints its figures and writes bench/results/upload.json

Reading is compared with `datasets.load_dataset("json")`, which checks nothing: whole processes in turn, each from its
first import to a dataset on the disk. Ours is the process that reads an upload, with the report, the exact duplicates,
the index and the file's sha256. Memory is what all of a side's processes hold together at most. STUDIO_BENCH_DIR
names a folder with 6 GB to spare.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from playwright.sync_api import Page, expect, sync_playwright

from app import surveyor
from app.services import benchmarks, readers, rows, surveys, uploads
from bench import corpus
from bench.machine import hardware
from bench.road import prepare, studio
from bench.watched import Watched, watched
from db import files
from db.session import migrate
from db.settings import settings
from prolora.dataset import Choices

RESULTS = Path(__file__).parent / "results" / "upload.json"
PAIRS = 3
ROOM = 6 << 30  # bytes: the file, its rows, and what load_dataset makes of it
RIVAL = (
    "import sys; from datasets import load_dataset; "
    "load_dataset('json', data_files=sys.argv[1], cache_dir=sys.argv[2], split='train')"
)
CHROMIUM = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
MINUTE = 60_000  # milliseconds
COMMON, RARE = "kettle", str(corpus.ROWS - 51)  # words that most rows have, and one row near the end


def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("STUDIO_BENCH_DIR")) as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < ROOM:
            raise SystemExit(f"{folder} has less than {ROOM >> 30} GB to spare. Name another in STUDIO_BENCH_DIR.")
        prepare(folder / "data")
        migrate()
        upload = taken_in(folder / "rows.jsonl")
        figures: dict[str, Any] = {"about": about(), "reading": {}}
        for name, cores in (("all cores", os.sched_getaffinity(0)), ("one core", {0})):
            figures["reading"][name] = compared(upload, cores)
        report = uploads.preview(upload).report
        figures["file"] = {part: report[part] for part in ("read", "kept", "rejected", "repeats")} | size_of(upload)
        save(figures)
        kept = timed(lambda: uploads.keep(upload, "Rows"))
        number = kept.answer.id
        figures |= {"keeping": kept.seconds, "rows": browsing(number)}
        save(figures)
        figures["page"] = opening(number)
        save(figures)
        figures["surveys"] = counting(number, folder)
        save(figures)


def save(figures: dict[str, Any]) -> None:
    """After every part, for the next may take minutes."""
    RESULTS.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(figures, indent=1, ensure_ascii=False), flush=True)


def size_of(upload: uploads.Upload) -> dict[str, int]:
    return {"bytes": (files.upload_dir(upload.key) / upload.name).stat().st_size}


def about() -> dict[str, Any]:
    versions = {"python": sys.version.split()[0], "datasets": datasets.__version__}
    return {"hardware": hardware(), **versions, "load": os.getloadavg()[0]}


def taken_in(path: Path) -> uploads.Upload:
    corpus.write(path)
    upload = uploads.receive(path, path.name)
    path.unlink()
    return upload


def compared(upload: uploads.Upload, cores: set[int]) -> dict[str, Any]:
    """Both sides in turn on these cores; the ratio of a pair is how fast we are, load_dataset being 1."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        pairs = [pair(upload) for _ in range(PAIRS)]
    finally:
        os.sched_setaffinity(0, before)
    ours = statistics.median(each["seconds"] for each in pairs)
    return {
        "ratio": round(statistics.median(each["ratio"] for each in pairs), 3),
        "seconds": ours,
        "rows per second": round(corpus.ROWS / ours),
        "megabytes": max(each["megabytes"] for each in pairs),
        "pairs": pairs,
    }


def pair(upload: uploads.Upload) -> dict[str, Any]:
    load = os.getloadavg()[0]
    rival, ours = watched(lambda: load_dataset(upload)), watched(lambda: read(upload))
    print(f"load_dataset {rival.seconds:.2f} s, ours {ours.seconds:.2f} s, {ours.megabytes} MB", flush=True)
    return {
        "load_dataset": {
            "seconds": round(rival.seconds, 2),
            "cpu seconds": round(rival.busy, 2),
            "megabytes": rival.megabytes,
        },
        "seconds": round(ours.seconds, 2),
        "cpu seconds": round(ours.busy, 2),
        "megabytes": ours.megabytes,
        "ratio": round(rival.seconds / ours.seconds, 3),
        "load": round(load, 2),
    }


def load_dataset(upload: uploads.Upload) -> None:
    path = files.upload_dir(upload.key) / upload.name
    with tempfile.TemporaryDirectory(dir=settings().data) as cache:
        command = [sys.executable, "-c", RIVAL, str(path), cache]
        subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=True, capture_output=True)


def read(upload: uploads.Upload) -> None:
    attempt = uploads.renew(upload, Choices())
    subprocess.run([sys.executable, "-c", readers.READ, upload.key, str(attempt)], check=True)
    if error := uploads.progress(upload).error:
        raise SystemExit(error)


def browsing(number: int) -> dict[str, float]:
    """Seconds for one page of rows; of a search for what is rare, until the whole dataset has been searched."""
    places = {"first page": 0, "page in the middle": corpus.ROWS // 2, "last page": corpus.ROWS * 99 // 100}
    pages = {name: timed(partial(rows.page, number, start=at)).seconds for name, at in places.items()}
    filters = {each: timed(partial(rows.page, number, each)).seconds for each in (rows.HELD_OUT, rows.REPEATS)}
    common = timed(lambda: rows.page(number, text=COMMON)).seconds
    answers = searched(number, RARE)
    return (
        pages
        | {f"first page, {each}": seconds for each, seconds in filters.items()}
        | {"search for a common word": common, "slowest answer of a rare search": max(answers)}
        | {"rare search to the end": round(sum(answers), 3)}
    )


def searched(number: int, text: str) -> list[float]:
    answers: list[float] = []
    start: int | None = 0
    while start is not None:
        answer = timed(partial(rows.page, number, text=text, start=start))
        answers.append(answer.seconds)
        start = answer.answer.next
    return answers


def counting(number: int, folder: Path) -> dict[str, dict[str, float]]:
    """What is counted in the background, one after another; overlaps with a benchmark of GSM8K's size and layout."""
    items = folder / "items.jsonl"
    corpus.write_items(items)
    benchmarks.import_benchmark("items", [items])
    kinds, counted = (surveys.NEAR, surveys.OVERLAP, surveys.lengths_on(surveys.bases()[0])), {}
    for kind in kinds:
        surveys.stop(number, kind)  # what the page has begun
    for kind in kinds:
        surveys.ask(number, kind)
        surveys.again(kind)
        done = watched(surveyor.count_next)
        survey = next(each for each in surveys.of(number) if each.kind == kind)
        if survey.state != surveys.DONE:
            raise SystemExit(f"{kind}: {survey.error}")
        counted[kind] = {
            "seconds": round(done.seconds, 1),
            "cpu seconds": round(done.busy, 1),
            "megabytes": done.megabytes,
        }
        print(kind, counted[kind], flush=True)
    return counted


def opening(number: int) -> dict[str, Any]:
    """Seconds in a browser until the dataset's page shows rows, the next ones, and those of a search."""
    with studio(), sync_playwright() as playwright:
        expect.set_options(timeout=MINUTE)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        address = f"http://127.0.0.1:{os.environ['STUDIO_PORT']}"
        opened = [shown(browser.new_page(base_url=address), number) for _ in range(5)]
        browser.close()
    return {
        "first time": opened[0],
        "median": {name: statistics.median(each[name] for each in opened) for name in opened[0]},
    }


def shown(page: Page, number: int) -> dict[str, float]:
    lead, row = page.locator("#rows .lead"), page.locator("#rows .row-card").first

    def until(words: str) -> float:
        expect(lead).to_contain_text(words)
        expect(row).to_be_visible()
        return round(time.perf_counter() - started, 3)

    started = time.perf_counter()
    page.goto(f"/datasets?id={number}")
    seconds = {"open": until("Up to row 20 ")}
    started = time.perf_counter()
    page.locator("#rows-next").click()
    seconds["next rows"] = until("Up to row 40 ")
    page.locator("#row-search textarea, #row-search input").first.fill(COMMON)
    started = time.perf_counter()
    page.keyboard.press("Enter")
    seconds["search"] = until("Searched")
    page.close()
    return seconds


def timed(call: Callable[[], Any]) -> Watched[Any]:
    """Without a look at memory."""
    started = time.perf_counter()
    answer = call()
    return Watched(answer, round(time.perf_counter() - started, 3))


if __name__ == "__main__":
    main()
