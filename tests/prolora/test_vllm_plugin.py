"""The plugin inside a real vLLM server, and its parts without one."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from prolora.export import content_hash
from prolora.peft import ProloraConfig
from prolora.vllm import cpu_fix, launch
from prolora.vllm.resolver import Resolver
from tests.prolora.conftest import Load
from tests.prolora.vllm_server import KEY, Server

PROMPTS = [list(range(start, start + length)) for start, length in ((5, 40), (60, 3), (100, 90), (30, 17))]
TOKENS = 16
Publish = Callable[..., Any]


@pytest.fixture
def publish(load: Load) -> Publish:
    """Puts a random adapter where the server looks, and returns the model that carries it."""

    def publish(folder: Path, base: Any = None, **fields: Any) -> Any:
        fields = {"r": 16, "u": 2, "m": 7, "n": 7, "lora_alpha": 64} | fields
        model = get_peft_model(base or load(), ProloraConfig(**fields, init_weights=False, task_type="CAUSAL_LM"))
        model.save_pretrained(folder)
        return model.eval()

    return publish


def greedy(model: Any, prompt: list[int]) -> list[int]:
    """What transformers answers, by its plainest road."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(TOKENS):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, len(prompt) :].tolist()


def test_a_never_seen_adapter_is_served_by_name(vllm_server: Server, publish: Publish, load: Load) -> None:
    assert vllm_server.post("/v1/completions", model="late-v1", prompt="a", max_tokens=1).status_code == 404
    model = publish(vllm_server.adapters / "late-v1")
    for prompt in PROMPTS:
        expected = greedy(model, prompt)
        assert vllm_server.complete("late-v1", prompt, TOKENS) == expected
        assert expected != greedy(load(), prompt)


@pytest.mark.parametrize("setting", [(8, 0, 4, 4), (4, 4, 1, 1), (64, 8, 7, 7)], ids=str)
def test_every_setting_answers_as_peft_does(
    vllm_server: Server, publish: Publish, setting: tuple[int, int, int, int]
) -> None:
    name = "setting-" + "-".join(map(str, setting))
    model = publish(vllm_server.adapters / name, **dict(zip("rumn", setting, strict=True)))
    assert [vllm_server.complete(name, prompt, TOKENS) for prompt in PROMPTS] == [greedy(model, p) for p in PROMPTS]


def test_a_plain_lora_is_served_as_it_is(vllm_server: Server, load: Load) -> None:
    config = LoraConfig(r=8, lora_alpha=64, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load(), config).eval()
    model.save_pretrained(vllm_server.adapters / "plain-v1")
    assert vllm_server.complete("plain-v1", PROMPTS[0], TOKENS) == greedy(model, PROMPTS[0])


def test_the_base_beside_adapters_is_the_base_alone(vllm_server: Server, publish: Publish, load: Load) -> None:
    models = {"base": load()}
    # As many as there are slots: vLLM's fault shows when the last slot is taken.
    for name in (f"beside-v{slot}" for slot in range(launch.SLOTS)):
        models[name] = publish(vllm_server.adapters / name)
    alone = [vllm_server.complete("base", prompt, TOKENS) for prompt in PROMPTS]
    assert alone == [greedy(models["base"], prompt) for prompt in PROMPTS]
    asked = [(name, prompt) for prompt in PROMPTS for name in models]
    with ThreadPoolExecutor(len(asked)) as pool:
        found = list(pool.map(lambda one: vllm_server.complete(*one, TOKENS), asked))
    assert found == [greedy(models[name], prompt) for name, prompt in asked]


def test_the_first_token_of_a_never_seen_adapter_comes_within_a_second(vllm_server: Server, publish: Publish) -> None:
    vllm_server.complete("base", PROMPTS[0], 1)
    seconds = []
    for number in range(3):
        publish(vllm_server.adapters / f"quick-v{number}", r=64, u=8, m=7, n=7)
        started = time.perf_counter()
        vllm_server.complete(f"quick-v{number}", PROMPTS[0], 1)
        seconds.append(time.perf_counter() - started)
    print(f"first token, never seen: {', '.join(f'{1000 * one:.0f} ms' for one in seconds)}")
    assert max(seconds) < 1


def test_two_first_requests_at_once_are_both_answered(vllm_server: Server, publish: Publish) -> None:
    model = publish(vllm_server.adapters / "rush-v1")
    # The same content under a second name: two requests that write the same folder.
    shutil.copytree(vllm_server.adapters / "rush-v1", vllm_server.adapters / "rush-v2")
    names = ["rush-v1", "rush-v2"] * 3
    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lambda name: vllm_server.complete(name, PROMPTS[0], TOKENS), names))
    assert answers == [greedy(model, PROMPTS[0])] * len(names)


def test_a_chat_goes_through_our_template(vllm_server: Server, publish: Publish, tiny_base: Path) -> None:
    model = publish(vllm_server.adapters / "chat-v1")
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    prompt = tokenizer("<s><|user|>\nhello\n<|assistant|>\n", add_special_tokens=False)["input_ids"]
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": TOKENS, "temperature": 0}
    answer = vllm_server.post("/v1/chat/completions", model="chat-v1", ignore_eos=True, return_token_ids=True, **body)
    found = answer.json()
    assert found["prompt_token_ids"] == prompt
    assert found["choices"][0]["token_ids"] == greedy(model, prompt)


@pytest.mark.parametrize("name", ["never-made", "..", ".", "../published", "a/../late-v1", "/etc", "a b", ".late", ""])
def test_unknown_and_bad_names_are_not_found(vllm_server: Server, name: str) -> None:
    answer = vllm_server.post("/v1/completions", model=name or " ", prompt="a", max_tokens=1)
    assert answer.status_code == 404


def test_a_spoilt_adapter_is_refused_and_the_server_goes_on(vllm_server: Server, publish: Publish) -> None:
    publish(vllm_server.adapters / "torn-v1")
    (vllm_server.adapters / "torn-v1" / "adapter_model.safetensors").write_bytes(b"torn")
    assert vllm_server.post("/v1/completions", model="torn-v1", prompt="a", max_tokens=1).status_code == 404
    assert vllm_server.complete("base", PROMPTS[0], 1)
    assert not list(vllm_server.adapters.with_name("published.expanded").glob(".*"))


@pytest.mark.parametrize("change", [{"hidden_size": 64}, {"hidden_size": 256}, {"num_hidden_layers": 4}], ids=str)
def test_an_adapter_of_another_base_is_refused(
    vllm_server: Server, publish: Publish, tiny_base: Path, change: dict[str, int]
) -> None:
    other = LlamaForCausalLM(LlamaConfig.from_pretrained(tiny_base, **change))
    name = "other-" + "-".join(map(str, *change.items()))
    publish(vllm_server.adapters / name, base=other)
    assert vllm_server.post("/v1/completions", model=name, prompt="a", max_tokens=1).status_code == 404
    assert "trained on another base" in vllm_server.log.read_text()


def test_callers_without_the_key_are_refused(vllm_server: Server) -> None:
    answer = httpx.get(f"{vllm_server.url}/v1/models")
    assert answer.status_code == 401
    assert KEY not in vllm_server.log.read_text()


def resolve(resolver: Resolver, *names: str) -> list[Any]:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(resolver.resolve_lora("base", name) for name in names))

    return asyncio.run(all_at_once())


def test_expansions_are_named_by_content_and_made_once(publish: Publish, tmp_path: Path) -> None:
    root = tmp_path / "published"
    publish(root / "one")
    shutil.copytree(root / "one", root / "two")
    found = resolve(Resolver(root), *["one", "two"] * 8)
    expected = tmp_path / "published.expanded" / content_hash(root / "one")
    assert {request.lora_path for request in found} == {str(expected)}
    assert [path.name for path in expected.parent.iterdir()] == [expected.name]
    assert json.loads((expected / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_bad_names_never_touch_the_disk(publish: Publish, tmp_path: Path) -> None:
    publish(tmp_path / "outside")
    (tmp_path / "published").mkdir()
    assert resolve(Resolver(tmp_path / "published"), "../outside", "..", "", "x" * 300, "a\n") == [None] * 5


@pytest.mark.parametrize(
    "fields", [{"use_dora": True}, {"setting_pattern": {"q_proj": {"u": 4}}}, {"alpha_pattern": {"q_proj": 8}}]
)
def test_what_vllm_would_serve_otherwise_than_it_was_trained_is_not_served(
    publish: Publish, tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
) -> None:
    publish(tmp_path / "published" / "special", **fields)
    with caplog.at_level("WARNING", logger="vllm.prolora"):
        assert resolve(Resolver(tmp_path / "published"), "special") == [None]
    assert f"uses {next(iter(fields))}" in caplog.text


ROWS = torch.tensor([0, -1, 2, -1, 0])


def test_rows_without_an_adapter_get_nothing() -> None:
    inputs, weights = torch.randn(5, 6), torch.randn(3, 1, 4, 6)
    shrunk = torch.full((5, 4), 9.0)
    cpu_fix.bgmv_shrink(inputs, weights, shrunk, ROWS, 0.5)
    for row, slot in enumerate(ROWS.tolist()):
        expected = 0.5 * weights[slot, 0] @ inputs[row] if slot >= 0 else torch.zeros(4)
        torch.testing.assert_close(shrunk[row], expected)


def test_expanding_adds_to_the_base_where_there_is_an_adapter() -> None:
    inputs, weights, output = torch.randn(5, 4), torch.randn(3, 1, 6, 4), torch.randn(5, 10)
    before = output.clone()
    cpu_fix.bgmv_expand_slice(inputs, weights, output, ROWS, 2, 6)
    for row, slot in enumerate(ROWS.tolist()):
        added = weights[slot, 0] @ inputs[row] if slot >= 0 else torch.zeros(6)
        torch.testing.assert_close(output[row, 2:8] - before[row, 2:8], added)
    assert torch.equal(output[:, :2], before[:, :2])
    assert torch.equal(output[:, 8:], before[:, 8:])


def test_vllms_own_kernels_agree_where_every_row_has_an_adapter() -> None:
    from vllm.lora.ops.torch_ops import lora_ops

    inputs, weights, slots = torch.randn(5, 6), torch.randn(3, 1, 4, 6), torch.tensor([0, 1, 2, 1, 0])
    outputs = torch.zeros(2, 5, 4)
    cpu_fix.bgmv_shrink(inputs, weights, outputs[0], slots, 2.0)
    lora_ops.bgmv_shrink(inputs, weights, outputs[1], slots, 2.0)
    torch.testing.assert_close(*outputs)


def test_kernels_that_moved_are_left_alone_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    moved = SimpleNamespace(__name__="moved", bgmv_shrink=lambda inputs, weights: None)
    before = dict(vars(moved))
    with caplog.at_level("WARNING", logger="vllm.prolora"):
        cpu_fix.replace_kernels(moved)
    assert vars(moved) == before
    assert "bgmv_shrink" in caplog.text


def test_the_command_holds_what_answers_depend_on(tmp_path: Path) -> None:
    options = {"chat_template": tmp_path / "chat.jinja"}
    cpu = launch.command("/models/demo", "demo", "127.0.0.1", 8000, cuda=False, max_lora_rank=40, **options)
    cuda = launch.command("/models/demo", "demo", "127.0.0.1", 8000, cuda=True, **options)
    assert cpu[cpu.index("--max-lora-rank") + 1] == "64"
    assert "--kv-cache-memory-bytes" in cpu
    assert "--kv-cache-memory-bytes" not in cuda
    assert not any("secret" in word for word in cpu)
    environment = launch.environment(tmp_path / "published", "secret")
    assert environment["PROLORA_ADAPTERS"] == str(tmp_path / "published")
    assert environment["VLLM_API_KEY"] == "secret"


def test_the_launch_arguments_load_neither_torch_nor_vllm() -> None:
    code = (
        "import sys, prolora.vllm.launch; sys.exit(bool({'torch', 'vllm', 'peft', 'transformers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
