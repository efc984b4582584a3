"""The page on training without the studio, run from its first block to its last."""

import re
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, BitsAndBytesConfig

from prolora.peft import ProloraConfig
from tests.prolora.conftest import Load

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
ROWS = [{"prompt": f"What is {n} and one?", "completion": f" It is {n + 1}."} for n in range(4)]


def test_the_code_on_the_page_trains(load: Load, tiny_base: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    settings = {"output_dir": str(tmp_path), "max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 5e-5}
    settings |= {"report_to": "none", "bf16": True, "use_cpu": True, "save_strategy": "no", "logging_steps": 1}
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    page: dict[str, Any] = {"base": load(), "settings": settings, "rows": Dataset.from_list(ROWS)}
    page["quantized_base"] = load(quantization_config=nf4, dtype=torch.bfloat16)
    # A folder's name, which the trainer reads its tokenizer by.
    page["quantized_base"].config._name_or_path = str(tiny_base)
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(code, page)
    trained = [each for each in page["trainer"].model.parameters() if each.requires_grad]
    assert {each.dtype for each in trained} == {torch.float32}
    losses = [line["loss"] for line in page["trainer"].state.log_history if "loss" in line]
    assert len(losses) == 2
    assert all(0 < loss < 20 for loss in losses)
    assert len(page["groups"]) == 4


def test_every_option_of_the_method_is_on_the_page() -> None:
    page = PAGE.read_text()
    pefts = {"target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern", "bias"}
    ours = vars(ProloraConfig)["__annotations__"].keys() - pefts - {"format_version", "init_weights"}
    assert [name for name in sorted(ours) if f"`{name}" not in page and f"{name}=" not in page] == []
