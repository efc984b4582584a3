"""The documented file format, read by the code that the page shows and by nothing of ours."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from peft import get_peft_model
from safetensors.numpy import load_file

from prolora.peft import ProloraConfig, ProloraLinear
from tests.prolora.conftest import Load

PAGE = Path(__file__).parents[2] / "docs" / "adapter-format.md"


def test_the_code_on_the_page_rebuilds_the_factors_of_a_saved_adapter(load: Load, tmp_path: Path) -> None:
    model = get_peft_model(load(), ProloraConfig(r=12, u=2, m=3, n=5, init_weights=False))
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    page: dict[str, Any] = {}
    exec(code, page)
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, ProloraLinear)]
    assert len(stored) == 4 * len(layers)
    for name, layer in layers:
        a_u, a_0, b_u, b_0 = (stored[f"{name}.prolora_{part}"] for part in ("A_u", "A_0", "B_u", "B_0"))
        np.testing.assert_array_equal(page["factor_a"](a_u, a_0, 3), layer.factor_a("default").detach())
        np.testing.assert_array_equal(page["factor_b"](b_u, b_0, 5), layer.factor_b("default").detach())


def test_every_field_that_is_ours_is_on_the_page() -> None:
    page = PAGE.read_text()
    ours = {"r", "u", "m", "n", "lora_alpha", "lora_dropout", "use_rslora", "rotate", "rectify", "share_along"}
    ours |= {"rotate_along", "scale_unshared", "setting_pattern", "alpha_pattern", "format_version", "target_modules"}
    assert ours <= set(ProloraConfig.__dataclass_fields__)
    assert all(f"`{name}`" in page for name in ours)
