"""The vLLM plugin: adapters served by name from one folder, PRoLoRA among them.

vLLM calls `register` in each of its processes (entry point group `vllm.general_plugins`), some of
them more than once; nothing of vLLM is imported before that.
"""

import os
from pathlib import Path

ROOT_VARIABLE = "PROLORA_ADAPTERS"


def register() -> None:
    """Mend what is wrong on CPUs, and serve the adapters below $PROLORA_ADAPTERS."""
    from prolora.vllm import cpu_fix

    cpu_fix.apply()
    root = os.environ.get(ROOT_VARIABLE)
    if not root:
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    from prolora.vllm.resolver import Resolver

    # vLLM warns when a resolver is registered twice, and calls plugins more than once.
    if "prolora" not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver("prolora", Resolver(Path(root)))
