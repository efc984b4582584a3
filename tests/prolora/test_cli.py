import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

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


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["plan", "--json", *arguments]) == 0
    return list(json.loads(capsys.readouterr().out))


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


def write_lora(folder: Path, rank: int = 4, **changes: object) -> Path:
    """A LoRA of random factors on two layers, written by hand."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {"v": 2}} | changes
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shapes = {"q.lora_A": (rank, 24), "q.lora_B": (20, rank), "v.lora_A": (2, 24), "v.lora_B": (12, 2)}
    random = np.random.default_rng(0)
    tensors = {f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_inspect_knows_a_lora_and_its_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(write_lora(tmp_path / "lora"))]) == 0
    printed = capsys.readouterr().out
    assert "LoRA r=4 on 1 layers, the first q" in printed
    assert "LoRA r=2 on 1 layers, the first v" in printed
    assert "rank_pattern: v has 2" in printed


def test_inspect_as_json_has_every_setting_and_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_adapter(tmp_path / "adapter", setting_pattern={"other": {"u": 2}}, rotate=True)
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"] == [{"r": 4, "u": 1, "m": 2, "n": 2, "modules": ["layer"]}]
    assert found["patterns"] == {"setting_pattern": {"other": {"u": 2}}}
    assert found["options"] == {"rotate": True}
    assert (found["parameters"], found["dtypes"]) == (25, ["F32"])
    assert found["bytes"] == (folder / "adapter_model.safetensors").stat().st_size


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")


EXTRA = np.ones((2, 2), dtype=np.float32)


@pytest.mark.parametrize("command", ["inspect", "expand", "merge", "convert"])
@pytest.mark.parametrize(
    ("write", "break_it", "words"),
    [
        (write_adapter, lambda tensors: tensors.pop("layer.prolora_B_0"), "layer lacks prolora_B_0"),
        (write_adapter, lambda tensors: tensors.update({"layer.prolora_C": EXTRA}), "layer.prolora_C is there, and"),
        (write_adapter, lambda tensors: tensors["layer.prolora_A_0"].fill(np.nan), "layer.prolora_A_0 has numbers"),
        (write_lora, lambda tensors: tensors.pop("q.lora_B.weight"), "q lacks lora_B.weight"),
        (
            write_lora,
            lambda tensors: tensors.update({"k.lora_B.weight": EXTRA}),
            "k.lora_B.weight has no lora_A.weight",
        ),
        (write_lora, lambda tensors: tensors["q.lora_A.weight"].fill(np.inf), "q.lora_A.weight has numbers"),
        (write_lora, lambda tensors: tensors.update({"q.lora_A.weight": EXTRA[0]}), "a factor has two dimensions"),
        (
            write_lora,
            lambda tensors: tensors.update({"q.lora_magnitude_vector": EXTRA}),
            "q has lora_magnitude_vector, and use_dora is False",
        ),
        (write_lora, lambda tensors: [tensors.clear(), tensors.update({"x": EXTRA})], "holds no factors of a LoRA"),
        (
            write_adapter,
            lambda tensors: tensors.update({"layer.prolora_A_u": np.ones((1, 6), dtype=np.int32)}),
            "layer.prolora_A_u holds I32; an adapter holds F64",
        ),
    ],
)
def test_every_command_refuses_a_file_that_is_not_whole_and_names_the_tensor(
    command: str, write: Any, break_it: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "adapter")
    rewrite(folder, break_it)
    refuses(command, folder, words, capsys)


@pytest.mark.parametrize("command", ["inspect", "expand", "merge", "convert"])
@pytest.mark.parametrize(
    ("write", "changes", "words"),
    [
        (write_adapter, {"m": 3}, "layer.prolora_A_0 has the shape (3, 3); the configuration asks for (3, 2)"),
        (write_adapter, {"format_version": 2}, "reads 1 to 1. Install a newer one"),
        (write_adapter, {"lora_alpha": None}, "must be a number, not None"),
        (write_lora, {"r": 8}, "q.lora_A.weight has the shape (4, 24); the configuration asks for rank 8"),
        (write_lora, {"r": None}, "r must be a whole number from 1, not None"),
        (write_adapter, {"r": None, "setting_pattern": {"layer": {"r": 4}}}, "r must be a whole number, not None"),
        (write_adapter, {"lora_alpha": float("nan")}, "lora_alpha must be a number, not nan"),
        (write_adapter, {"lora_alpha": 10**400}, "and below 2^128"),
        (write_adapter, {"rotate": "false"}, "rotate must be true or false, not 'false'"),
        (write_adapter, {"bias": []}, "bias must be a word"),
        (write_adapter, {"setting_pattern": [1]}, "setting_pattern must be an object"),
        (write_adapter, {"setting_pattern": {"other": 3}}, "setting_pattern may change r, u, m, n of a module, not 3"),
        (write_adapter, {"setting_pattern": {"(": {"u": 1}}}, "'(', which is no regular expression"),
        (write_adapter, {"alpha_pattern": {"layer": "x"}}, "alpha_pattern of layer must be a number, not 'x'"),
        (write_lora, {"rank_pattern": {"v": "2"}}, "rank_pattern of v must be a whole number from 1, not '2'"),
        (write_lora, {"use_dora": True}, "q lacks lora_magnitude_vector, and use_dora is True"),
    ],
)
def test_every_command_refuses_a_configuration_of_other_tensors(
    command: str, write: Any, changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuses(command, write(tmp_path / "adapter", **changes), words, capsys)


@pytest.mark.parametrize("command", ["inspect", "expand", "merge", "convert"])
def test_every_command_refuses_a_configuration_nested_beyond_reading(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("[" * 100_000)
    refuses(command, folder, "adapter_config.json is not JSON", capsys)


@pytest.mark.parametrize("command", ["expand", "merge", "convert"])
def test_a_checkpoint_of_the_authors_is_never_taken_for_the_lora_of_its_chunks(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_lora(tmp_path / "checkpoint", rank_pattern={})
    rewrite(folder, lambda tensors: tensors.update({"q.lora_A_vec": EXTRA, "q.lora_B_vec": EXTRA}))
    rewrite(folder, lambda tensors: [tensors.pop(f"v.lora_{factor}.weight") for factor in "AB"])
    refuses(command, folder, "is a compact checkpoint of the paper's authors' code", capsys)


def test_an_update_scaled_by_zero_has_no_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refuses("convert", write_lora(tmp_path / "lora", lora_alpha=0), "lora_alpha of q is 0", capsys)


def refuses(command: str, folder: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a sentence, and nothing written; the base that merge asks for has a configuration at least."""
    out, base = folder.parent / "out", folder.parent / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / "model.safetensors").touch()
    target = [] if command == "inspect" else [str(out)]
    more = {"merge": ["--base", str(base)], "convert": ["--budget", "30"]}.get(command, [])
    assert main([command, str(folder), *target, *more]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_convert_finds_an_expansion_exactly_and_the_nearest_by_setting_or_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = write_adapter(tmp_path / "adapter")
    lora, back = str(tmp_path / "lora"), tmp_path / "back"
    assert main(["expand", str(adapter), lora]) == 0
    assert main(["convert", lora, str(back), "--u", "1", "--m", "2", "--n", "2"]) == 0
    assert "Found (4, 1, 2, 2) on 1 layers" in capsys.readouterr().out
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, back))
    assert all(np.array_equal(after[name], tensor) for name, tensor in before.items())
    other, near = str(write_lora(tmp_path / "other")), str(tmp_path / "near")
    assert main(["convert", other, near, "--r", "4", "--u", "1", "--m", "2", "--n", "2"]) == 0
    printed = capsys.readouterr()
    assert "(4, 1, 2, 2): 200 parameters in place of 248." in printed.out
    assert "% away in all" in printed.out
    assert "2 of 2: v is" in printed.err
    assert main(["convert", other, near, "--r", "4", "--u", "1", "--m", "2", "--n", "2"]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "5M", "--r", "4"], "Give --budget or --r, not both"),
        (["--r", "4", "--u", "1"], "Give --r, --u, --m and --n together"),
        ([], "is not the expansion of a PRoLoRA"),
        (["--u", "1", "--m", "2", "--n", "2"], "in q the copies of a chunk differ by up to"),
        (["--m", "0"], "Sharing rate m must be at least 1, not 0"),
        (["--n", "-1"], "Sharing rate n must be at least 1, not -1"),
        (["--budget", ""], "is not a budget"),
        (["--r", "4", "--u", "1", "--m", "100000000", "--n", "2"], "m = 100000000 is more than the layers have room"),
        (["--r", "1000000000000", "--u", "1", "--m", "2", "--n", "2"], "r = 1000000000000 is more than the layers"),
    ],
)
def test_convert_says_what_is_missing(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = write_lora(tmp_path / "lora", rank_pattern={})
    rewrite(lora, lambda tensors: [tensors.pop(f"v.lora_{factor}.weight") for factor in "AB"])
    assert main(["convert", str(lora), str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_target_that_cannot_be_written_is_named_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = str(write_adapter(tmp_path / "adapter"))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    assert main(["expand", adapter, str(tmp_path / "file" / "out")]) == 2
    assert f"{tmp_path / 'file' / 'out'} cannot be written: " in capsys.readouterr().err
    assert main(["expand", adapter, str(tmp_path / "link")]) == 2
    assert "link exists already" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def started(*arguments: str, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "prolora.cli", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **streams)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "adapter")
    rewrite(source, lambda tensors: tensors.update(whole=np.zeros(10_000, dtype=np.float32)))
    before = sorted(tmp_path.iterdir())

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    process = started("expand", str(source), str(tmp_path / "out"), preexec_fn=fill)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.startswith(f"{tmp_path / 'out'} cannot be written: ")
    assert sorted(tmp_path.iterdir()) == before


def hear_interrupts() -> None:
    """A shell that runs the tests in the background has them ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_command_says_so_without_a_traceback(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "adapter_config.json")
    process = started("inspect", str(tmp_path), preexec_fn=hear_interrupts)
    with (tmp_path / "adapter_config.json").open("w"):  # waits until the command waits for what it reads
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "Stopped.\n")


def test_an_output_that_is_full_is_an_error_of_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        process = started("plan", "--budget", "rank 8", stdout=full)
        _, errors = process.communicate()
    assert (process.returncode, errors.count("\n")) == (2, 1)
    assert "No space left" in errors


def test_names_that_are_no_text_are_printed_all_the_same(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", base_model_name_or_path="\ud800")
    process = started("inspect", str(adapter), stdout=subprocess.PIPE)
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert printed.startswith("PROLORA for \\ud800\n")
    odd = write_adapter(tmp_path / os.fsdecode(b"\xff"))
    process = started("expand", str(odd), str(tmp_path / "out"))
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "has a name that is not UTF-8, which safetensors cannot open" in errors


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n    {name} " in printed for name in ("plan", "check", "inspect", "expand", "merge", "convert"))


def test_check_counts_the_rows_of_a_good_file(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(good)]) == 0
    assert capsys.readouterr().out == (
        "One JSON value a line: JSONL.\n"
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


def test_check_reports_as_json_with_line_and_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_text("instruction;output\na;b\na;b\nc;\nd\n")
    assert main(["check", str(path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [report[key] for key in ("rows", "kept", "rejected", "repeated", "format")] == [4, 2, 2, 1, "CSV"]
    assert report["evidence"][0] == "2 fields divided by semicolons: CSV."
    assert [(p["line"], p["field"], p["code"]) for p in report["problems"]] == [
        (4, "output", "no-answer"),
        (5, "", "fields-count"),
    ]
    assert report["problems"][0]["message"] == "Line 4 has no answer. Add an output or leave the row out."


@pytest.mark.parametrize(
    ("content", "rejects"),
    [
        (b'{"instruction": "a", "output": "b"}\r\n{"output":  "caf\xe9"}\r\nx\n', b'{"output":  "caf\xe9"}\nx\n'),
        (b'[{"instruction": "a", "output": "b"},\n{"output" : 1}, 7]', b'[\n{"output" : 1},\n7\n]\n'),
        (b'instruction,output\na,b\nc\n"d\ne",\n', b'instruction,output\nc\n"d\ne",\n'),
    ],
)
def test_check_writes_the_rejects_as_they_stand(tmp_path: Path, content: bytes, rejects: bytes) -> None:
    path, out = tmp_path / "x.json", tmp_path / "rejects"
    path.write_bytes(content)
    assert main(["check", str(path), "--rejects", str(out)]) == 1
    assert out.read_bytes() == rejects
    assert main(["check", str(path), "--rejects", str(tmp_path)]) == 2


def test_check_does_not_write_the_rejects_over_the_file_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, link = tmp_path / "x.jsonl", tmp_path / "link.jsonl"
    path.write_bytes(b'{"instruction": "a", "output": "b"}\n7\n')
    link.symlink_to(path)
    for out in (path, link):
        assert main(["check", str(path), "--rejects", str(out)]) == 2
        assert "is the file that is checked" in capsys.readouterr().err
    assert path.read_bytes() == b'{"instruction": "a", "output": "b"}\n7\n'


def test_check_does_not_pass_over_a_form_without_its_fields(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(good), "--form", "text"]) == 2
    assert "--form text needs --field" in capsys.readouterr().err


def test_rejects_in_utf_16_are_read_again_whatever_they_begin_with(tmp_path: Path) -> None:
    path, out = tmp_path / "x.csv", tmp_path / "rejects.csv"
    fields = ["--field", "instruction=質問", "--field", "output=答え"]
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        path.write_bytes(mark + "質問,答え\nあ,い\nう,\n".encode(encoding))
        assert main(["check", str(path), *fields, "--rejects", str(out)]) == 1
        assert out.read_bytes() == mark + "質問,答え\nう,\n".encode(encoding)
        out.write_bytes(out.read_bytes().replace("う,".encode(encoding), "う,え".encode(encoding)))
        assert main(["check", str(out), *fields]) == 0


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
    adapter, lora = write_adapter(good.parent / "adapter"), write_lora(good.parent / "lora")
    for folder in (adapter, lora):
        assert loaded_after(f"from prolora.cli import main; assert not main(['inspect', {str(folder)!r}])") == []
    assert loaded_after(f"from prolora.cli import main; main(['check', {str(good)!r}])") == []


def test_a_name_that_prolora_lacks_is_an_attribute_error() -> None:
    import prolora

    with pytest.raises(AttributeError, match="nonsense"):
        _ = prolora.nonsense
    assert "suggest" in dir(prolora)
