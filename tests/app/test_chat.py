"""The pair of streams against a small HTTP server that speaks the model server's dialect."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gradio as gr
import pytest
import starlette.requests

from app.pages import playground
from app.services import chat, jobs
from app.services.chat import Options, Reply, Turn
from db.settings import settings
from tests.app.test_main import stored_adapter

both_in = threading.Barrier(2, timeout=5)


class Server(BaseHTTPRequestHandler):
    """Each word of the model's name is a token; a model called `missing` is not known."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer secret" or body["model"] == "missing":
            self.send_error(404 if body["model"] == "missing" else 401)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if body["model"].startswith("meet"):
            both_in.wait()  # passes only when both streams are open at once
        words = body["model"].split()
        for word in words:
            self.event({"choices": [{"delta": {"content": f"{word} "}}]})
        self.event({"choices": [], "usage": {"completion_tokens": len(words)}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, data: dict) -> None:
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *args) -> None:
        """Quiet."""


@pytest.fixture
def server(studio, monkeypatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        monkeypatch.setenv("STUDIO_SERVE_PORT", str(http.server_address[1]))
        monkeypatch.setenv("STUDIO_SERVE_KEY", "secret")
        settings.cache_clear()
        yield
        http.shutdown()


def ask(left: str, right: str) -> list[tuple[Reply, Reply]]:
    async def collect() -> list[tuple[Reply, Reply]]:
        question = ({"role": "user", "content": "Hello"},)
        return [pair async for pair in chat.stream_pair(Turn(left, question), Turn(right, question), Options())]

    return asyncio.run(collect())


def test_both_streams_run_at_once(server):
    left, right = ask("meet one", "meet two three")[-1]
    assert (left.text, right.text) == ("meet one ", "meet two three ")
    assert (left.tokens, right.tokens) == (2, 3)
    assert left.first_token is not None
    assert left.done
    assert right.done


def test_a_column_that_fails_leaves_the_other_alone(server):
    left, right = ask("missing", "fine answer")[-1]
    assert left.error == "The server does not know this adapter yet. Wait a moment and send again."
    assert right.text == "fine answer "
    assert right.error is None


def test_a_server_that_is_not_there_is_said_to_be_starting(studio, monkeypatch):
    monkeypatch.setenv("STUDIO_SERVE_PORT", "1")
    settings.cache_clear()
    left, right = ask("a", "b")[-1]
    assert left.error == right.error
    assert "starting" in str(left.error)


def test_an_adapter_of_another_base_is_said_to_be_so_and_not_chosen(studio, choice, monkeypatch):
    stored_adapter(jobs.start(choice)[0])
    monkeypatch.setenv("STUDIO_SERVE_BASE", "llama-2-7b")
    settings.cache_clear()
    request = gr.Request(starlette.requests.Request({"type": "http", "query_string": b"left=tickets-1", "headers": []}))
    left, right, *_ = playground.enter(request)
    assert (left.value, right.value) == (None, "llama-2-7b")
    assert left.info == "tickets-1 is for the base Demo shop support (3.4M); the server holds LLaMA-2 7B."


def test_an_adapter_that_vllm_cannot_serve_is_not_offered_and_is_said_to_be_so(studio, choice):
    stored_adapter(jobs.start(choice)[0], "vera")
    assert [model.name for model in chat.models()] == ["demo"]
    assert chat.why_not("tickets-1").startswith("tickets-1 is a VeRA: vLLM serves plain LoRA")


def test_a_side_without_a_model_is_not_sent(studio):
    async def send() -> None:
        async for _ in playground.answer("Hello", None, "demo", [], [], 0.0, 8):
            pass

    with pytest.raises(gr.Error, match="Choose a model on both sides"):
        asyncio.run(send())


def test_a_served_base_that_is_not_there_is_a_toast(studio, monkeypatch):
    monkeypatch.setenv("STUDIO_SERVE_BASE", "nothing")
    settings.cache_clear()
    with pytest.raises(gr.Error, match="no base model called"):
        playground.enter(gr.Request())


def test_the_base_can_be_asked_before_there_is_any_adapter(studio):
    assert [model.name for model in chat.models()] == ["demo"]
