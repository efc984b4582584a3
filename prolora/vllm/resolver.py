"""From an adapter's name to a LoRA folder that vLLM can load."""

import asyncio
import logging
import re
from pathlib import Path

from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver

from prolora.adapter_file import AdapterError, read_config
from prolora.errors import StudioError
from prolora.export import content_hash, to_lora
from prolora.vllm import fit

log = logging.getLogger("vllm.prolora")  # below vLLM's own logger, so that its settings apply
# No separators, and no leading dot: neither a path out of the root nor a folder half-written.
NOT_SERVED = ("use_dora", "setting_pattern", "rank_pattern", "alpha_pattern")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class Resolver(LoRAResolver):  # type: ignore[misc]  # vLLM is untyped
    """Serves `<root>/<name>/`, immutable folders with versioned names; PRoLoRA unfolds to `<root>.expanded/`.

    vLLM asks again for every unknown name, so a bad one is refused before the disk is touched.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        if not NAME.fullmatch(lora_name):
            return None
        try:
            folder = await asyncio.to_thread(servable, self.root, lora_name, Path(base_model_name))
        except (StudioError, OSError) as error:
            log.warning("The adapter %s cannot be served: %s", lora_name, error)
            return None
        # vLLM puts a number of its own in place of the 1.
        return None if folder is None else LoRARequest(lora_name, 1, str(folder))


def servable(root: Path, name: str, base: Path) -> Path | None:
    """The folder that vLLM is to load for a name; None if there is no such adapter."""
    source = root / name
    if not source.is_dir():
        return None
    config = read_config(source)
    if beyond := [field for field in NOT_SERVED if config.get(field)]:
        raise AdapterError(f"it uses {', '.join(beyond)}, and vLLM knows one rank and one alpha of a plain LoRA only.")
    folder = source if config["peft_type"] == "LORA" else expanded(root, source)
    fit.check(base, folder)
    return folder


def expanded(root: Path, source: Path) -> Path:
    """The adapter as plain LoRA, in a folder named by content: vLLM's caches trust a path for ever."""
    target = root.parent / f"{root.name}.expanded" / content_hash(source)
    if target.is_dir():
        return target
    try:
        return to_lora(source, target)
    except (StudioError, OSError):
        # Another request or process may have been first, and has then written the same bytes.
        if target.is_dir():
            return target
        raise
