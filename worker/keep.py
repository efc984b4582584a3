"""A trained adapter becomes files that never change, a row, and a name that never means other weights."""

import re
import shutil
from functools import partial
from pathlib import Path

from peft import PeftModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import files, jobs
from db.models import Adapter
from db.outage import patiently
from prolora.base_models import BaseModel
from prolora.export import content_hash
from worker import serve
from worker.work import Work


def keep(work: Work, model: PeftModel, base: BaseModel) -> int:
    """Save, name and publish the adapter; its id."""
    staged = save(work, model, base)
    digest = content_hash(staged)
    store(staged, files.adapter_dir(digest))
    adapter = Adapter(
        owner_id=work.owner_id,
        job_id=work.lease.job_id,
        name=versioned_name(work, digest),
        method=work.plan.method,
        base_model=base.name,
        content_hash=digest,
        parameters=model.num_parameters(only_trainable=True),
        size_bytes=(staged / "adapter_model.safetensors").stat().st_size,
        dtype="float32",
    )
    adapter = patiently(partial(register, work, adapter))
    serve.publish(adapter)
    return adapter.id


def register(work: Work, adapter: Adapter, s: Session) -> Adapter:
    """Its row; the one that is there already when the answer to a commit was lost."""
    jobs.progress(s, work.lease, stage="Saving the adapter")  # the fence: a lost lease writes no row
    there = s.scalar(select(Adapter).where(Adapter.job_id == work.lease.job_id))
    if there is None:
        there = s.merge(adapter)
        s.flush()
    return there


def save(work: Work, model: PeftModel, base: BaseModel) -> Path:
    staged = files.run_dir(work.lease.job_id) / "adapter"
    # A local model is called by its last name: the folder it lies in is this machine's own affair.
    model.peft_config["default"].base_model_name_or_path = Path(base.name).name if base.local else base.source
    model.save_pretrained(str(staged), save_embedding_layers=False)
    return staged


def store(staged: Path, target: Path) -> None:
    if target.exists():
        return  # named by content, so it is the same
    with files.write_aside(target) as aside:
        for name in serve.ADAPTER_FILES:
            shutil.copyfile(staged / name, aside / name)


def versioned_name(work: Work, digest: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", work.name.lower()).strip("-")[:60] or "adapter"
    return f"{slug}-{work.plan.method}-{work.lease.job_id}-{digest[:8]}"
