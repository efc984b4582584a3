import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from prolora.cli import main

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "peft", "sqlalchemy", "celery", "gradio")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.jsonl"
    path.write_text('{"question": "2 + 2?", "answer": "4"}\n{"question": "3 + 3?", "answer": "6"}\n')
    return path


def test_plan_prints_settings_and_the_lora_twin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "llama-2-7b", "--budget", "5M"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("r=8 u=1 m=7 n=7") < printed.index("r=9 u=1 m=8 n=8") < printed.index("LoRA r=2 ")
    assert "4,999,520" in printed


def test_plan_refuses_a_budget_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "demo", "--budget", "7"]) == 2
    assert "smallest PRoLoRA" in capsys.readouterr().err


def test_plan_as_json_is_a_list_of_settings_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--model", "llama-2-7b", "--budget", "5M", "--strict", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    reason, training = first.pop("reason"), first.pop("training_bytes")
    assert training > 10**10
    assert first == {"r": 9, "u": 1, "m": 8, "n": 8, "parameters": 4997120, "bytes": 4 * 4997120}
    assert "divides every width" in reason


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert main(["plan", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_plan_takes_sizes_of_the_stored_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    (half, *_) = planned(capsys, "--model", "qwen3-8b", "--budget", "40 MB", "--dtype", "bfloat16")
    assert half["bytes"] == 2 * half["parameters"] == pytest.approx(40e6, rel=0.001)
    assert main(["plan", "--model", "qwen3-8b", "--budget", "40 MB", "--dtype", "int3"]) == 2
    assert "not as int3" in capsys.readouterr().err


def test_plan_fits_as_many_adapters_into_a_card_as_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(capsys, "--model", "llama-2-7b", "--budget", "500 adapters in 20 GiB")
    assert all(500 * each["bytes"] <= 20 * 2**30 for each in found)


def test_plan_takes_a_subset_of_the_modules_and_a_tolerance(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--model", "llama-2-7b", "--targets", "q_proj, v_proj", "--budget", "rank 8", "--tolerance", "2%")
    found = planned(capsys, *asked)
    assert all(abs(each["parameters"] / 4_194_304 - 1) <= 0.02 for each in found)
    assert main(["plan", "--targets", "q_proj,lm_head", "--budget", "rank 8"]) == 2
    assert "must be among q_proj, k_proj" in capsys.readouterr().err


def test_plan_says_what_memory_training_takes(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--model", "llama-2-7b", "--budget", "rank 8")
    whole, *_ = planned(capsys, *asked)
    lean, *_ = planned(capsys, *asked, "--batch", "1", "--length", "256", "--checkpointing")
    assert lean["training_bytes"] < whole["training_bytes"]
    full, *_ = planned(capsys, *asked, "--quantization", "none")
    assert full["training_bytes"] - whole["training_bytes"] == pytest.approx(6_476_005_376 * (1.5 - 1 / 64), rel=0.001)
    assert main(["plan", *asked, "--batch", "0"]) == 2
    assert "batch must be at least 1" in capsys.readouterr().err
    assert main(["plan", *asked, "--checkpointing"]) == 0
    assert "16 rows of 512 tokens on the base in NF4, with gradient checkpointing" in capsys.readouterr().out


def test_plan_says_what_the_sizes_are_and_what_a_mixture_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = {"hidden_size": 512, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8}
    config = {"architectures": ["MixtralForCausalLM"], "vocab_size": 1000, "num_local_experts": 4} | widths
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["plan", "--model", str(tmp_path), "--budget", "rank 4"]) == 0
    printed = capsys.readouterr().out
    assert "The weights of its experts are one tensor a layer" in printed
    assert "in float32, in MB of 10^6 bytes" in printed
    assert "memory of training is not known" in printed


def write_adapter(folder: Path, **changes: object) -> Path:
    """A PRoLoRA of (4, 1, 2, 2) on one layer of 6 inputs and 4 outputs, written by hand."""
    folder.mkdir()
    config = {"peft_type": "PROLORA", "r": 4, "u": 1, "m": 2, "n": 2} | changes
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shapes = {"A_u": (1, 6), "A_0": (3, 3), "B_u": (4, 1), "B_0": (2, 3)}
    tensors = {f"layer.prolora_{part}": np.ones(shape, dtype=np.float32) for part, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_inspect_says_what_an_adapter_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(write_adapter(tmp_path / "adapter"))]) == 0
    printed = capsys.readouterr().out
    assert "25 parameters in 4 tensors of F32" in printed
    assert "PRoLoRA r=4 u=1 m=2 n=2 on 1 layers, the first layer" in printed


def test_inspect_names_the_tensor_that_does_not_fit_or_the_file_that_is_torn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(write_adapter(tmp_path / "other", m=3))]) == 2
    assert "layer.prolora_A_0 has the shape (3, 3); the configuration asks for (3, 2)" in capsys.readouterr().err
    weights = write_adapter(tmp_path / "torn") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    assert main(["inspect", str(weights.parent)]) == 2
    assert "is torn" in capsys.readouterr().err


def test_check_counts_the_rows_of_a_good_file(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == (
        "2 rows read as alpaca (instruction = question, output = answer): 2 kept, 0 rejected.\n"
    )


def test_check_lists_bad_rows_and_exits_1(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good.write_text(good.read_text() + '{"question": "4 + 4?"}\n')
    assert main(["check", str(good)]) == 1
    assert "Line 3 has no answer. Add an answer or leave the row out.\n" in capsys.readouterr().out


def test_check_takes_a_mapping_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps([{"q": "2 + 2?", "a": "4"}]))
    assert main(["check", str(path)]) == 2
    assert (
        main(["check", str(path), "--form", "prompt-completion", "--field", "prompt=q", "--field", "completion=a"]) == 0
    )
    assert main(["check", str(path), "--field", "nonsense"]) == 2
    assert "PART=NAME" in capsys.readouterr().err


def test_check_refuses_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl cannot be read" in capsys.readouterr().err


def loaded_after(code: str) -> list[str]:
    """Which heavy packages a fresh process has loaded after running this."""
    probe = f"{code}\nimport sys; print('LOADED', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1].split()[1:]


def test_importing_planning_and_checking_load_nothing_heavy(good: Path) -> None:
    assert loaded_after("import prolora") == []
    assert loaded_after("import prolora; prolora.suggest, prolora.Plan, prolora.ChatTokenizer") == []
    assert loaded_after("from prolora.cli import main; main(['plan', '--model', 'llama-2-7b', '--budget', '5M'])") == []
    assert loaded_after("from prolora.cli import main; main(['inspect', 'nowhere'])") == []
    assert loaded_after(f"from prolora.cli import main; main(['check', {str(good)!r}])") == []


def test_a_name_that_prolora_lacks_is_an_attribute_error() -> None:
    import prolora

    with pytest.raises(AttributeError, match="nonsense"):
        _ = prolora.nonsense
    assert "suggest" in dir(prolora)
