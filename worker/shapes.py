"""Counting the linear layers of any causal language model, without its weights, so that it can be planned for.

    python -m worker.shapes FOLDER   # writes a small file, and says how to plan with it

The model is built on torch's meta device, from the folder's config.json alone: no code of the folder runs, and nothing
is fetched.
"""

import hashlib
import sys
from collections import Counter
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from db import files
from prolora.base_models import Linear, Shapes, measured
from prolora.errors import BaseModelError, StudioError

EXPERTS = "Some of its weights are one tensor for many experts and no linear layers; adapters leave them as they are."


def count(folder: Path) -> tuple[str, Shapes]:
    """The architecture of the folder's model, and its shapes."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BaseModelError(
            f"No causal language model can be built from {folder / 'config.json'}: {error} "
            "Give the folder of a model that transformers knows without code of its own."
        ) from error
    return type(model).__name__, shapes_of(model)


def shapes_of(model: PreTrainedModel) -> Shapes:
    """All linear layers but the output head and gates of one number, which have nothing to share."""
    kinds = Counter(
        (name.rsplit(".", 1)[-1], module.in_features, module.out_features)
        for name, module in model.named_modules()
        if _adaptable(module) and module is not model.get_output_embeddings() and module.out_features > 1
    )
    if not kinds:
        raise BaseModelError(f"{type(model).__name__} has no linear layers that an adapter could be put before.")
    text = model.config.get_text_config()
    embedding = model.get_input_embeddings()
    return Shapes(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        linears=tuple(Linear(*kind, count=times) for kind, times in kinds.items()),
        base_parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=embedding.weight.shape[0],
        heads=getattr(text, "num_attention_heads", None) or 1,  # a state-space model has none
        note=EXPERTS if any(parameter.dim() == 3 for parameter in model.parameters()) else "",
    )


def _adaptable(module: nn.Module) -> bool:
    """Not that of torch's own attention, whose kernels read its weight past any adapter."""
    return isinstance(module, nn.Linear) and not isinstance(module, NonDynamicallyQuantizableLinear)


def store(folder: Path) -> Path:
    """Count the folder's model, unless one of the same config.json is counted already; where the shapes lie."""
    file = folder / "config.json"
    if not file.is_file():
        raise BaseModelError(f"{folder} has no config.json, so it is not a model's folder. Choose another.")
    target = files.shapes_file(hashlib.sha256(file.read_bytes()).hexdigest())
    if not target.is_file():
        architecture, shapes = count(folder)
        aside = target.with_suffix(".new")
        measured.write(architecture, shapes, aside)
        aside.replace(target)
    return target


def main() -> int:
    if len(sys.argv) != 2:
        print("Give one folder: python -m worker.shapes FOLDER", file=sys.stderr)
        return 2
    try:
        target = store(Path(sys.argv[1]).expanduser())
    except StudioError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Plan with: prolora plan --model {target} --budget 'rank 8'")
    return 0


if __name__ == "__main__":
    sys.exit(main())
