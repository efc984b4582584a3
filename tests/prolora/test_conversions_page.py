"""The page on conversions: its commands run, one after the other, and its table is the benchmark's."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from transformers import LlamaForCausalLM

from prolora.adapter_file import read
from prolora.cli import main
from prolora.peft import ProloraConfig
from tests.prolora.conftest import Load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conversions.md").read_text()


def test_the_commands_on_the_page_convert_an_adapter_and_back(
    load: Load, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = get_peft_model(load(), ProloraConfig(r=16, u=2, m=7, n=7, init_weights=False)).eval()
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "base").symlink_to(tiny_base)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"```\nprolora (.*?)\n```", PAGE)
    assert [main(shlex.split(command)) for command in commands] == [0, 0, 0, 0]
    assert read(tmp_path / "compact").parameters == read(tmp_path / "adapter").parameters
    assert read(tmp_path / "nearest").parameters < read(tmp_path / "lora").parameters / 3
    tokens = torch.tensor([[1, 5, 9, 13]])
    merged = LlamaForCausalLM.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(merged(tokens).logits, model(tokens).logits, atol=1e-4, rtol=1e-4)


def test_the_table_on_the_page_is_what_the_benchmark_found() -> None:
    found = json.loads((ROOT / "bench" / "results" / "shrink.json").read_text())
    for each in found["shrunk"]:
        numbers = f"{each['parameters']:,} | {each['relative_error']:.1%} | {each['held_out_loss']:.3f} |"
        assert numbers.replace("%", " %") in PAGE, numbers
    assert f"{found['lora']['parameters']:,}" in PAGE
    assert f"{found['lora']['held_out_loss']:.3f} nats" in PAGE
