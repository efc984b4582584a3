"""How a conversation looks to a model, and which of its tokens are trained.

The same template as transformers' chat templates, rendered here without transformers: the
`{% generation %}` blocks give the spans of characters, the tokenizer's offsets turn them into tokens.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from jinja2 import Template, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Encoding, Tokenizer

from prolora.errors import BaseModelError

TEMPLATE = (Path(__file__).parent / "chat.jinja").read_text(encoding="utf-8")


class Message(TypedDict):
    role: str  # system, user or assistant; or text, which stands alone
    content: str
    weight: NotRequired[int]  # of an assistant turn that is not trained: 0


@dataclass(frozen=True)
class Rendered:
    text: str
    spans: tuple[tuple[int, int], ...]  # characters that are trained, as (start, end)


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is wholly trained or wholly not."""

    text: str
    trained: bool


@dataclass(frozen=True)
class Encoded:
    ids: tuple[int, ...]
    mask: tuple[bool, ...]  # token by token: is it trained?
    truncated: bool
    pieces: tuple[Piece, ...]  # what is left of the text, for display

    @property
    def trained(self) -> int:
        return sum(self.mask)


class _Trained(Extension):
    """`{% generation %}`: notes where its text begins and ends in the whole."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("note", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def note(self, context: Context, caller: Callable[[], str]) -> str:
        text = caller()
        # Jinja yields block by block, so all text before this one is already in `rendered`.
        start = sum(map(len, context["rendered"]))
        context["spans"].append((start, start + len(text)))
        return text


@cache
def _template() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Trained])
    return environment.from_string(TEMPLATE)


def render(
    messages: Iterable[Message], add_generation_prompt: bool = False, bos: str = "<s>", eos: str = "</s>"
) -> Rendered:
    rendered: list[str] = []
    spans: list[tuple[int, int]] = []
    blocks = _template().generate(
        messages=list(messages),
        add_generation_prompt=add_generation_prompt,
        bos_token=bos,
        eos_token=eos,
        rendered=rendered,
        spans=spans,
    )
    for block in blocks:
        rendered.append(block)  # one by one: `note` reads the list while it grows
    return Rendered("".join(rendered), tuple(spans))


class ChatTokenizer:
    """A base model's own tokenizer.json, told about conversations."""

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise BaseModelError(f"{folder} has no tokenizer.json. Save the model's fast tokenizer into it.")
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise BaseModelError(f"{path} is not a tokenizer ({error}). Copy the file again.") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.bos, self.eos = _special(Path(folder), "bos_token", "<s>"), _special(Path(folder), "eos_token", "</s>")

    def encode(self, messages: Iterable[Message], max_length: int | None = None) -> Encoded:
        """Ids and mask as transformers' apply_chat_template gives them; what is too long loses its end."""
        rendered = render(messages, bos=self.bos, eos=self.eos)
        # The template writes the one BOS itself.
        encoding = self.tokenizer.encode(rendered.text, add_special_tokens=False)
        mask = _mask(encoding, rendered.spans)[:max_length]
        ids = tuple(encoding.ids[:max_length])
        pieces = _pieces(rendered.text, encoding.offsets, mask)
        return Encoded(ids, mask, truncated=len(ids) < len(encoding.ids), pieces=pieces)

    def masks(self, conversations: Iterable[Iterable[Message]]) -> list[tuple[bool, ...]]:
        """The masks that `encode` gives, of many at once."""
        rendered = [render(messages, bos=self.bos, eos=self.eos) for messages in conversations]
        encodings = self.tokenizer.encode_batch([each.text for each in rendered], add_special_tokens=False)
        return [_mask(encoding, each.spans) for encoding, each in zip(encodings, rendered, strict=True)]

    def prompt(self, messages: Iterable[Message]) -> tuple[int, ...]:
        """The ids after which the assistant speaks."""
        text = render(messages, add_generation_prompt=True, bos=self.bos, eos=self.eos).text
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _special(folder: Path, name: str, default: str) -> str:
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    token = config.get(name) or default
    return str(token["content"] if isinstance(token, dict) else token)


def _mask(encoding: Encoding, spans: Sequence[tuple[int, int]]) -> tuple[bool, ...]:
    mask = [False] * len(encoding.ids)
    for start, end in spans:
        first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
        if first is None:
            continue
        stop = len(mask) if last is None else last + 1
        mask[first:stop] = [True] * (stop - first)
    return tuple(mask)


def _pieces(text: str, offsets: Sequence[tuple[int, int]], mask: Sequence[bool]) -> tuple[Piece, ...]:
    """The text of the kept tokens, cut where training begins or ends."""
    if not mask:
        return ()
    firsts, trained = [], []
    for value, run in groupby(range(len(mask)), key=mask.__getitem__):
        firsts.append(next(run))
        trained.append(value)
    # A character of several tokens belongs to the first of them, so starts never overlap.
    cuts = [0, *(offsets[first][0] for first in firsts[1:]), offsets[len(mask) - 1][1]]
    return tuple(Piece(text[a:b], value) for (a, b), value in zip(pairwise(cuts), trained, strict=True))
