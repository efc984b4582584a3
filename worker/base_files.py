"""Where a base model's files lie on this machine. Loads no torch: the serving process asks too."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from prolora.base_models import BaseModel, check_folder
from prolora.errors import BaseModelError

WANTED = ["*.json", "*.safetensors", "tokenizer.model"]  # no code, no pickles


def folder(base: BaseModel) -> Path:
    """Where the model's files lie; one of the hub is fetched when it is not here yet."""
    if base.local:
        check_folder(Path(base.source))
        return Path(base.source)
    try:
        return Path(snapshot_download(base.source, allow_patterns=WANTED))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise BaseModelError(
            f"{base.title} is not on this machine and cannot be fetched. Fetch it with `hf download {base.source}` "
            f"where you have access to it, or give the folder it lies in, and start again. ({error})"
        ) from error


def tokenizer_folder(model: Path, converted: Path) -> Path:
    """The folder with tokenizer.json; an older model's tokenizer is converted once into `converted`."""
    if (model / "tokenizer.json").exists():
        return model
    if not (converted / "tokenizer.json").exists():
        from transformers import AutoTokenizer  # seconds, and for old models only

        try:
            AutoTokenizer.from_pretrained(model, use_fast=True).save_pretrained(converted)
        except (OSError, ValueError) as error:
            raise BaseModelError(f"The tokenizer in {model} cannot be read: {error}") from error
    return converted
