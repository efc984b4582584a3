"""A hub's dataset on its way in: what it offers, and an upload whose file is fetched before it is read.

A hub is only spoken to by processes of their own: its libraries are large, and what it sends is a stranger's.
"""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from app.services import hub, readers, uploads
from app.services.hub import Choices
from app.services.hub.listing import check_commit, check_hub_name, check_revision
from app.services.readers import FETCHING, READING
from app.services.uploads import Upload
from db import files
from db.models import OWNER
from db.models import Upload as UploadRow
from db.session import session
from prolora.errors import DatasetError

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 90  # for all that a look at a dataset asks of the hub
Note = Callable[[float, int], None]  # share done, rows read; raises to stop


def look_up(name: str, revision: str = "") -> Choices:
    """The configs and splits of `owner/name` at its newest commit, or at a branch, a tag or a commit. No folder."""
    check_hub_name(name)
    check_revision(revision)
    command = [sys.executable, "-m", "app.services.hub", name, revision]
    try:
        with files.intake_log().open("ab") as log:
            asked = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise DatasetError(
            f"The hub has not told within {SECONDS} s what {name} holds. Try again, or upload the file itself."
        ) from error
    if asked.returncode:
        raise DatasetError(f"{name} could not be looked up (exit {asked.returncode}). The log uploads.log says more.")
    answer = json.loads(asked.stdout)
    if "error" in answer:
        raise DatasetError(answer["error"])
    splits = {config: tuple(found) for config, found in answer["splits"].items()}
    return Choices(answer["name"], answer["revision"], splits)


def begin(name: str, config: str, split: str, commit: str) -> Upload:
    """Fetch a split and read it, in a process of its own."""
    check_hub_name(name)
    check_commit(commit)
    if not config or not split:
        raise DatasetError(f"Choose which config and which split of {name} to fetch.")
    upload = Upload(secrets.token_hex(16), name)
    wanted = {"name": name, "config": config, "split": split, "revision": commit}
    with files.new_upload_dir(upload.key), session() as s:
        s.add(UploadRow(owner_id=OWNER, key=upload.key, name=name, state=FETCHING, choices={"hub": wanted}))
    readers.start(upload.key, 1)
    return upload


def bring(key: str, attempt: int, wanted: dict[str, str], note: Note) -> None:
    """Fetch the file of an upload, whose row learns what exactly was fetched."""
    check_hub_name(wanted["name"])
    split = hub.resolve(wanted["name"], wanted["config"], wanted["split"], wanted["revision"])
    uploads.check_space(2 * split.size)  # shards, and all of them joined
    readers.write(key, attempt, choices={"hub": asdict(split)})
    folder = files.upload_dir(key)
    fetched = hub.fetch(split, folder, lambda done, whole: note(done / max(whole, 1), 0))
    name = f"{_stem(split)}.{uploads.extension(fetched.name)}"
    fetched.rename(folder / name)
    readers.write(key, attempt, name=name, state=READING, done=0.0)


def _stem(split: hub.Split) -> str:
    """alpaca-train; a config is named where a person has named it."""
    config = "" if split.config == "default" else split.config
    parts = (split.name.split("/")[-1], config, split.split)
    return re.sub(r"[^\w-]", "-", "-".join(filter(None, parts)), flags=re.ASCII)[:100]
