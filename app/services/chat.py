"""Two answers at once: one generator that multiplexes two streams from the serving process."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import select

from db.models import OWNER, Adapter, Job, Serving
from db.session import session
from db.settings import settings
from prolora.base_models import find
from prolora.errors import StudioError
from prolora.methods import is_served, title

ANSWER_TIMEOUT = httpx.Timeout(10.0, read=300.0)
Message = dict[str, str]


class ChatError(StudioError):
    """No answer can be had; the text says why."""


@dataclass(frozen=True)
class Model:
    """Something the serving process can answer as."""

    name: str  # what vLLM calls it
    title: str
    method: str  # prolora, lora, or empty for the base


@dataclass(frozen=True)
class ServingState:
    state: str
    base: str
    detail: str
    updated_at: datetime | None

    @property
    def ready(self) -> bool:
        return self.state == "ready"


@dataclass(frozen=True)
class Turn:
    """What one column sends."""

    model: str
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Options:
    temperature: float = 0.0
    max_tokens: int = 128


@dataclass(frozen=True)
class Reply:
    """One column's answer so far."""

    text: str = ""
    first_token: float | None = None  # seconds
    seconds: float = 0.0
    tokens: int = 0
    done: bool = False
    error: str | None = None

    @property
    def speed(self) -> float | None:
        """Tokens a second after the first one."""
        rest = self.seconds - (self.first_token or 0.0)
        return (self.tokens - 1) / rest if self.tokens > 1 and rest > 0 else None


def serving() -> ServingState:
    """What the serving process last said of itself."""
    with session() as s:
        row = s.scalar(select(Serving).order_by(Serving.id).limit(1))
        if row is None:
            return ServingState("starting", _title(settings().serve_base), "", None)
        return ServingState(row.state, _title(row.base_model), row.detail, row.updated_at)


def models() -> list[Model]:
    """The served base, then its adapters, newest first."""
    base = find(settings().serve_base)
    mine = select(Adapter, Job.name).join(Job).where(Adapter.owner_id == OWNER, Adapter.base_model == base.name)
    with session() as s:
        found = s.execute(mine.order_by(Adapter.id.desc())).all()
        adapters = [
            Model(adapter.name, f"{name} · {adapter.name}", adapter.method)
            for adapter, name in found
            if is_served(adapter.method)
        ]
    return [Model(base.name, f"{base.title}, without an adapter", ""), *adapters]


def why_not(name: str) -> str:
    """Why a model that was asked for is not among those that answer."""
    with session() as s:
        adapter = s.scalar(select(Adapter).where(Adapter.owner_id == OWNER, Adapter.name == name))
    if adapter is None:
        return "The address names a model that is not here. Choose another."
    if not is_served(adapter.method):
        return f"{name} is a {title(adapter.method)}: vLLM serves plain LoRA and what unfolds to it. Use it with PEFT."
    return f"{name} is for the base {_title(adapter.base_model)}; the server holds {_title(settings().serve_base)}."


def _title(base: str) -> str:
    try:
        return find(base).title
    except StudioError:  # its folder may be gone while the server still holds it
        return base


async def stream_pair(left: Turn, right: Turn, options: Options) -> AsyncIterator[tuple[Reply, Reply]]:
    """Both answers as they grow; a column that fails says so and leaves the other alone."""
    news: asyncio.Queue[tuple[int, Reply]] = asyncio.Queue()
    replies = [Reply(), Reply()]
    async with _client() as client:
        tasks = [
            asyncio.create_task(_follow(client, side, turn, options, news)) for side, turn in enumerate((left, right))
        ]
        try:
            while not all(reply.done for reply in replies):
                side, reply = await news.get()
                replies[side] = reply
                while not news.empty():  # a slow reader sees the latest, not every step
                    side, reply = news.get_nowait()
                    replies[side] = reply
                yield replies[0], replies[1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _client() -> httpx.AsyncClient:
    chosen = settings()
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{chosen.serve_port}/v1",
        headers={"Authorization": f"Bearer {chosen.serve_key}"},
        timeout=ANSWER_TIMEOUT,
        trust_env=False,  # a proxy from the environment has no business on loopback
    )


async def _follow(
    client: httpx.AsyncClient, side: int, turn: Turn, options: Options, news: asyncio.Queue[tuple[int, Reply]]
) -> None:
    """Follow one stream and tell `news`; always ends with a reply that is done."""
    reply, start = Reply(), time.monotonic()
    try:
        async for event in _events(client, turn, options):
            reply = _grown(reply, event, time.monotonic() - start)
            await news.put((side, reply))
        reply = replace(reply, done=True)
    except (httpx.HTTPError, ChatError, ValueError) as error:
        reply = replace(reply, done=True, error=_explain(error))
    await news.put((side, reply))


async def _events(client: httpx.AsyncClient, turn: Turn, options: Options) -> AsyncIterator[dict[str, Any]]:
    body = {
        "model": turn.model,
        "messages": list(turn.messages),
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with client.stream("POST", "/chat/completions", json=body) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ChatError(_refusal(answer.status_code, await answer.aread()))
        async for line in answer.aiter_lines():
            data = line.removeprefix("data:").strip()
            if line.startswith("data:") and data != "[DONE]":
                yield json.loads(data)


def _grown(reply: Reply, event: dict[str, Any], seconds: float) -> Reply:
    if "error" in event:
        raise ChatError(str(event["error"].get("message", event["error"])))
    text = "".join(choice.get("delta", {}).get("content") or "" for choice in event.get("choices", ()))
    usage = event.get("usage") or {}
    if not text:  # the last event carries the count; its time is not an answer's
        return replace(reply, tokens=usage.get("completion_tokens", reply.tokens))
    return replace(
        reply,
        text=reply.text + text,
        first_token=seconds if reply.first_token is None else reply.first_token,
        seconds=seconds,
        tokens=usage.get("completion_tokens", reply.tokens + 1),
    )


def _refusal(status: int, body: bytes) -> str:
    try:
        told = json.loads(body)
        message = told.get("error", told).get("message", "")
    except (ValueError, AttributeError):
        message = body[:200].decode(errors="replace")
    if status == httpx.codes.NOT_FOUND:
        return "The server does not know this adapter yet. Wait a moment and send again."
    return f"The server refused (HTTP {status}): {message}"


def _explain(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return f"The model server does not answer: it is {serving().state}. Its log is in the data folder under logs."
    if isinstance(error, httpx.TimeoutException):
        return "The model server took too long. Send again, or ask for fewer tokens."
    return str(error) or type(error).__name__
