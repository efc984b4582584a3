"""A tiny random Llama with a byte-level tokenizer, and one real vLLM server of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.prolora.vllm_server import Server, served, write_base

Load = Callable[..., Any]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of random weights, wide enough for vLLM's CPU kernels."""
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def load(tiny_base: Path) -> Load:
    """Loads the tiny Llama afresh, with the options of from_pretrained."""
    from transformers import LlamaForCausalLM

    return lambda **options: LlamaForCausalLM.from_pretrained(tiny_base, **options).eval()


@pytest.fixture(scope="session")
def vllm_server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need one; it takes up to a minute to start."""
    with served(tiny_base, tmp_path_factory.mktemp("serving")) as server:
        yield server
