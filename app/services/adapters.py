"""Trained adapters: what exists, and the two zips that a person can take away."""

import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import select

from db import files
from db.models import OWNER, Adapter, Job
from db.session import session
from prolora.base_models import find
from prolora.errors import BaseModelError, StudioError
from prolora.methods import family, is_served, title
from prolora.plan import Setting

ROOT = Path(__file__).resolve().parents[2]
EXPORT_SECONDS = 600


Form = Literal["compact", "expanded"]


class AdapterError(StudioError):
    """An adapter that is not there, or that cannot be handed out."""


@dataclass(frozen=True)
class Line:
    """An adapter in a list."""

    id: int
    name: str
    job_id: int
    job: str
    method: str
    setting: str
    base: str
    parameters: int
    size_bytes: int
    dtype: str
    content_hash: str
    created_at: datetime
    file_sizes: tuple[tuple[str, int], ...]


def listing(limit: int = 200) -> list[Line]:
    """Newest first."""
    mine = select(Adapter, Job).join(Job).where(Adapter.owner_id == OWNER).order_by(Adapter.id.desc()).limit(limit)
    with session() as s:
        return [_line(adapter, job) for adapter, job in s.execute(mine)]


def find_adapter(adapter_id: int) -> Line:
    with session() as s:
        found = s.execute(select(Adapter, Job).join(Job).where(Adapter.id == adapter_id)).first()
        if found is None or found[0].owner_id != OWNER:
            raise AdapterError(f"There is no adapter number {adapter_id}.")
        return _line(*found)


def forms(method: str) -> tuple[Form, ...]:
    """As what an adapter of a method can be taken away; a LoRA has one form only."""
    if not is_served(method):
        return ("compact",)
    return ("compact", "expanded") if family(method) == "prolora" else ("expanded",)


def compact_zip(adapter_id: int) -> Path:
    """The adapter as it is stored; the caller removes the file when it has been sent."""
    line = find_adapter(adapter_id)
    return _zip(line, files.adapter_dir(line.content_hash), _stored_words(line.method))


def expanded_zip(adapter_id: int) -> Path:
    """The adapter as a plain LoRA; the caller removes the file when it has been sent."""
    line = find_adapter(adapter_id)
    if "expanded" not in forms(line.method):
        raise AdapterError(f"{line.name} is a {title(line.method)}, which is no plain LoRA. Take it as it is stored.")
    return _zip(line, _expanded(line), _EXPANDED if family(line.method) == "prolora" else _PLAIN)


def _stored_words(method: str) -> str:
    """What the archive says of its form: whether PEFT alone loads it, or needs this package to know the method."""
    if family(method) == "prolora" and is_served(method):
        return _COMPACT
    if is_served(method):
        return _PLAIN
    words = _OURS if family(method) == "prolora" or method == "tied-lora" else _PEFTS
    return words.replace("{title}", title(method))


def _expanded(line: Line) -> Path:
    """Made once and kept; in a process of its own, since unfolding needs torch and the page has none."""
    target = files.expanded_dir(line.content_hash)
    if target.exists():
        return target
    source = files.adapter_dir(line.content_hash)
    command = [sys.executable, "-m", "prolora.cli", "expand", str(source), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=EXPORT_SECONDS, check=False)
    if done.returncode and not target.exists():  # else a rival was first
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise AdapterError(f"{line.name} cannot be written as a LoRA: {last}")
    return target


def _zip(line: Line, folder: Path, readme: str) -> Path:
    """Weights do not compress, so nothing is."""
    if not folder.is_dir():
        raise AdapterError(f"The files of {line.name} are gone: {folder} does not exist.")
    handle, name = tempfile.mkstemp(dir=files.uploads_dir(), suffix=".zip")
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{line.name}/{path.name}")
        archive.writestr(f"{line.name}/README.md", _readme(line, readme))
    return Path(name)


def _readme(line: Line, words: str) -> str:
    return words.format(name=line.name, base=_base(line), setting=line.setting, parameters=f"{line.parameters:,}")


def _base(line: Line) -> str:
    try:
        base = find(line.base)
    except BaseModelError:
        return line.base
    return f"static/{Path(base.source).name}" if base.name == "demo" else base.source


def _line(adapter: Adapter, job: Job) -> Line:
    folder = files.adapter_dir(adapter.content_hash)
    sizes = sorted((path.name, path.stat().st_size) for path in folder.iterdir()) if folder.is_dir() else []
    return Line(
        id=adapter.id,
        name=adapter.name,
        job_id=job.id,
        job=job.name,
        method=adapter.method,
        setting=str(Setting(**job.plan["setting"])),
        base=adapter.base_model,
        parameters=adapter.parameters,
        size_bytes=adapter.size_bytes,
        dtype=adapter.dtype,
        content_hash=adapter.content_hash,
        created_at=adapter.created_at,
        file_sizes=tuple(sizes),
    )


_HEAD = """# {name}

An adapter for the base model {base}: setting {setting}, {parameters} trained parameters.
The base model itself is not in this archive.

"""
_OURS_USE = """
```python
import prolora.peft  # teaches PEFT the method
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}")
tokenizer = AutoTokenizer.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "{name}")
```
"""
_NEEDS_OURS = """Loading it needs the
`prolora` package, which is in the repository of the studio that trained it (`pip install "prolora[peft]"` from there).
"""
_COMPACT = (
    _HEAD
    + "This is the compact form: the unshared ranks and the shared chunks, and nothing twice. "
    + _NEEDS_OURS
    + _OURS_USE
)
_OURS = _HEAD + "This is a {title}, as PEFT stores it. vLLM does not serve it. " + _NEEDS_OURS + _OURS_USE
_PEFTS = (
    _HEAD
    + "This is a {title}, as PEFT stores it. PEFT alone loads it; vLLM does not serve it.\n"
    + _OURS_USE.replace("import prolora.peft  # teaches PEFT the method\n", "")
)
_LORA_USE = """
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}")
tokenizer = AutoTokenizer.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, "{name}")
```

With vLLM: `vllm serve {base} --enable-lora --lora-modules {name}={name}` with a `--max-lora-rank` of at least its rank.
"""
_EXPANDED = (
    _HEAD
    + "This is the expanded form: a plain LoRA with exactly the weights of the PRoLoRA adapter. PEFT alone loads it.\n"
    + _LORA_USE
)
_PLAIN = _HEAD + "This is a plain LoRA. PEFT alone loads it.\n" + _LORA_USE
