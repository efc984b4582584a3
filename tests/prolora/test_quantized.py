import torch
from torch import nn
from transformers import BitsAndBytesConfig

from prolora.quantized import keep_packing, train_in_float32
from tests.prolora.conftest import Load


def test_no_4_bit_layer_may_repack_its_weights(load: Load) -> None:
    model = load(quantization_config=BitsAndBytesConfig(load_in_4bit=True))
    keep_packing(model)
    flags = [m.support_avx512bf16_for_cpu for m in model.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
    assert flags
    assert not any(flags)


def test_a_small_update_that_bfloat16_rounds_away_counts_in_float32() -> None:
    layer = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    changed = []
    for guard in (lambda _: None, train_in_float32):
        nn.init.ones_(layer.weight)
        guard(layer)
        layer.weight.grad = torch.ones_like(layer.weight)
        torch.optim.SGD(layer.parameters(), lr=5e-5).step()
        changed.append(layer.weight.item() != 1)
        layer.weight.grad = None
    assert changed == [False, True]


def test_what_is_frozen_keeps_its_type() -> None:
    layer = nn.Linear(2, 2, dtype=torch.bfloat16)
    layer.weight.requires_grad_(False)
    train_in_float32(layer)
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.bfloat16, torch.float32)
