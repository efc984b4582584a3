"""PRoLoRA and Tied LoRA as methods of PEFT; importing this module registers them (PEFT knows no entry points)."""

from typing import cast

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method


def _add_peft_type(name: str) -> None:
    """Give PEFT's enum one more member, as `register_peft_method` asks for one that is there."""
    if name in PeftType.__members__:
        return
    member = str.__new__(PeftType, name)
    member._name_, member._value_ = name, name
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    PeftType._member_names_.append(name)
    # Attribute access is what PEFT uses; the metaclass refuses a plain setattr of a member.
    type.__setattr__(PeftType, name, member)


for _name in ("PROLORA", "TIED_LORA"):
    _add_peft_type(_name)

from prolora.config import ProloraConfig  # noqa: E402
from prolora.layer import ProloraLayer, ProloraLinear  # noqa: E402
from prolora.model import ProloraModel  # noqa: E402
from prolora.tied.config import TiedLoraConfig  # noqa: E402
from prolora.tied.model import TiedLoraModel  # noqa: E402

__all__ = ["ProloraConfig", "ProloraLayer", "ProloraLinear", "ProloraModel", "TiedLoraConfig", "TiedLoraModel"]

if cast(PeftType, PeftType["PROLORA"]) not in PEFT_TYPE_TO_CONFIG_MAPPING:
    register_peft_method(name="prolora", config_cls=ProloraConfig, model_cls=ProloraModel)
    register_peft_method(name="tied_lora", config_cls=TiedLoraConfig, model_cls=TiedLoraModel)
