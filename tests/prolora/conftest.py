"""A tiny random Llama with a byte-level tokenizer, and one real vLLM server of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prolora.vllm_server import Server, served, write_base

# Before any test imports transformers: nothing here may ask a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Llama of random weights, wide enough for vLLM's CPU kernels."""
    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def vllm_server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that need one; it takes up to a minute to start."""
    with served(tiny_base, tmp_path_factory.mktemp("serving")) as server:
        yield server
