"""The authors' checkpoints and expanded files, by the golden vectors that their own code made."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from prolora.adapter_file import AdapterError
from prolora.authors import to_compact
from prolora.expansion import AUTHORS, OURS, Sought
from prolora.export import lora_tensors, to_lora
from prolora.peft import ProloraConfig
from prolora.plan import Setting
from tests.prolora.conftest import Load
from tests.prolora.test_golden import CONFIGS, FOLDER

LAYER = "base_model.model.layers.0.q_proj"
Tensors = dict[str, Tensor]


@pytest.fixture(params=CONFIGS)
def golden(request: pytest.FixtureRequest) -> tuple[dict[str, int], Tensors]:
    return CONFIGS[request.param], load_file(FOLDER / f"{request.param}.safetensors")


def write(folder: Path, rank: int, tensors: Tensors) -> Path:
    """A folder as the authors' runs leave it: a plain LoRA's configuration, which knows no u, m and n."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    whole = {f"{LAYER}.{name}": tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(whole, folder / "adapter_model.safetensors")
    return folder


def checkpoint(vectors: Tensors, infix: str = "") -> Tensors:
    """The raw parameters of the authors' module."""
    return {
        f"lora_A{infix}.weight": vectors["param.A_0"],
        f"lora_B{infix}.weight": vectors["param.B_0"],
        f"lora_A_vec{infix}": vectors["param.A_u"],
        f"lora_B_vec{infix}": vectors["param.B_u"].T,
    }


def expanded(vectors: Tensors) -> Tensors:
    return {"lora_A.weight": vectors["reference.A"], "lora_B.weight": vectors["reference.B"]}


def sought(config: dict[str, int]) -> Sought:
    return Sought(config["u"], config["m"], config["n"])


def factors(folder: Path) -> tuple[Tensor, Tensor]:
    """A and B of the one layer of a compact folder."""
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "PROLORA"
    full = lora_tensors(config, load_file(folder / "adapter_model.safetensors"))
    return full[f"{LAYER}.lora_A.weight"], full[f"{LAYER}.lora_B.weight"]


def same_ranks(found: tuple[Tensor, Tensor], vectors: Tensors) -> None:
    """The same update bit for bit: equal pairs of a row of A and a column of B, in whatever order."""

    def pairs(a: Tensor, b: Tensor) -> list[tuple[float, ...]]:
        return sorted(tuple(torch.cat([row, column]).tolist()) for row, column in zip(a, b.T, strict=True))

    assert pairs(*found) == pairs(vectors["reference.A"], vectors["reference.B"])
    torch.testing.assert_close(found[1] @ found[0], vectors["reference.delta_W"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("infix", ["", ".default"])
def test_their_checkpoint_gives_their_update(
    golden: tuple[dict[str, int], Tensors], tmp_path: Path, infix: str
) -> None:
    config, vectors = golden
    source = write(tmp_path / "theirs", config["r"], checkpoint(vectors, infix))
    done = to_compact(source, tmp_path / "ours", sought(config))
    assert done.before == done.after
    same_ranks(factors(tmp_path / "ours"), vectors)


def test_their_expanded_file_gives_their_update(golden: tuple[dict[str, int], Tensors], tmp_path: Path) -> None:
    config, vectors = golden
    source = write(tmp_path / "theirs", config["r"], expanded(vectors))
    done = to_compact(source, tmp_path / "ours", sought(config))
    assert done.after == sum(vectors[f"param.{part}"].numel() for part in ("A_u", "A_0", "B_u", "B_0"))
    same_ranks(factors(tmp_path / "ours"), vectors)


@pytest.mark.parametrize("name", ["dev1_fig1", "dev3_u0", "dev6_wrap"])
def test_an_expanded_files_setting_is_found(name: str, tmp_path: Path) -> None:
    config, vectors = CONFIGS[name], load_file(FOLDER / f"{name}.safetensors")
    done = to_compact(write(tmp_path / "theirs", config["r"], expanded(vectors)), tmp_path / "ours")
    assert (done.setting, done.convention) == (Setting(*(config[number] for number in "rumn")), AUTHORS)
    same_ranks(factors(tmp_path / "ours"), vectors)


def test_what_fits_several_settings_gives_the_same_update_all_the_same(tmp_path: Path) -> None:
    config, vectors = CONFIGS["dev5_cutchunks"], load_file(FOLDER / "dev5_cutchunks.safetensors")
    done = to_compact(write(tmp_path / "theirs", config["r"], expanded(vectors)), tmp_path / "ours")
    assert done.setting.m < config["m"]  # the last chunk was cut away whole
    same_ranks(factors(tmp_path / "ours"), vectors)


def test_rates_are_read_from_a_checkpoints_shapes_unless_several_would_do(tmp_path: Path) -> None:
    vectors = load_file(FOLDER / "dev1_fig1.safetensors")
    done = to_compact(write(tmp_path / "theirs", 4, checkpoint(vectors)), tmp_path / "ours")
    assert done.setting == Setting(4, 1, 2, 3)
    vectors = load_file(FOLDER / "dev5_cutchunks.safetensors")
    with pytest.raises(AdapterError, match=r"m cannot be told from the shapes: \[12, 13, .* Give --m"):
        to_compact(write(tmp_path / "several", 32, checkpoint(vectors)), tmp_path / "none")
    with pytest.raises(AdapterError, match="n = 5 does not make the chunks"):
        to_compact(tmp_path / "several", tmp_path / "none", Sought(m=13, n=5))


@pytest.mark.parametrize("options", [{"r": 8, "u": 1, "m": 7, "n": 7}, {"r": 12, "u": 3, "m": 3, "n": 5}], ids=str)
def test_what_was_expanded_comes_back_bit_for_bit(load: Load, tmp_path: Path, options: dict[str, Any]) -> None:
    model = get_peft_model(load(), ProloraConfig(**options, init_weights=False, use_dora=True))
    model.save_pretrained(tmp_path / "adapter")
    to_lora(tmp_path / "adapter", tmp_path / "lora")
    done = to_compact(tmp_path / "lora", tmp_path / "back")
    assert (done.setting, done.convention) == (Setting(**options), OURS)
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_lora_that_is_no_expansion_is_refused_by_module_and_deviation(tmp_path: Path) -> None:
    vectors = load_file(FOLDER / "dev1_fig1.safetensors")
    spoilt = expanded(vectors)
    spoilt["lora_A.weight"] = spoilt["lora_A.weight"].clone()
    spoilt["lora_A.weight"][0, 5] += 0.25
    source = write(tmp_path / "theirs", 4, spoilt)
    with pytest.raises(AdapterError, match=r"q_proj the copies of a chunk differ by up to 0.25\b"):
        to_compact(source, tmp_path / "ours", Sought(1, 2, 3))
    # Of B alone it still is one, which is worth as much as the spoilt A leaves.
    assert to_compact(source, tmp_path / "half").setting.m == 1
    spoilt["lora_B.weight"] = torch.randn(12, 4)
    with pytest.raises(AdapterError, match="is not the expansion of a PRoLoRA"):
        to_compact(write(tmp_path / "other", 4, spoilt), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda tensors: tensors.pop("lora_B_vec"), "q_proj lacks lora_B_vec"),
        (lambda tensors: tensors.update(lora_embedding_A=torch.ones(2, 2)), "lora_embedding_A is no part"),
        (lambda tensors: tensors.update(lora_A_vec=torch.ones(2, 8)), "have not the rank r = 4"),
        (lambda tensors: tensors["lora_B_vec"].fill_(torch.nan), "lora_B_vec has numbers that are not finite"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused_by_name(tmp_path: Path, spoil: Any, words: str) -> None:
    tensors = checkpoint(load_file(FOLDER / "dev1_fig1.safetensors"))
    spoil(tensors)
    with pytest.raises(AdapterError, match=words):
        to_compact(write(tmp_path / "theirs", 4, tensors), tmp_path / "ours")


def test_a_zero_factor_tells_no_setting(tmp_path: Path) -> None:
    tensors = expanded(load_file(FOLDER / "dev1_fig1.safetensors"))
    tensors["lora_B.weight"] = torch.zeros(12, 4)
    source = write(tmp_path / "theirs", 4, tensors)
    with pytest.raises(AdapterError, match="zero throughout"):
        to_compact(source, tmp_path / "ours")
    assert to_compact(source, tmp_path / "ours", Sought(1, 2, 3)).setting == Setting(4, 1, 2, 3)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    source = write(tmp_path / "theirs", 4, checkpoint(load_file(FOLDER / "dev1_fig1.safetensors")))
    (source / "adapter_model.safetensors").rename(source / "adapter_model.bin")
    with pytest.raises(AdapterError, match="a pickle, which can run code"):
        to_compact(source, tmp_path / "ours")
