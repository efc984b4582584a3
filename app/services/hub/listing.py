"""What a dataset consists of at one revision, and the bytes of its files: on the hub, or in a local folder."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from app.services.hub.shards import readable
from prolora.errors import DatasetError

README = "README.md"
README_LIMIT = 10 << 20
FILES = 5_000  # readable ones; matching patterns against more takes long
LISTED = 50_000  # of any kind
BLOCK = 1 << 20
STREAMED = 1 << 16  # bytes at once from the hub, so that progress shows on a slow line too
SECONDS = 30  # without an answer from the hub
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
LONGEST_NAME = 200
REVISION = re.compile(r"(\w[\w./+-]{0,199})?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
CONVERTED = "refs/convert/parquet"  # the hub's own branch
TOKEN = "set HF_TOKEN to a token that may read it in the studio's environment, and start the studio anew"  # noqa: S105


@dataclass(frozen=True)
class Listing:
    name: str
    revision: str  # the full commit; empty for a folder
    sizes: dict[str, int]  # bytes of each file
    readme: str


def is_local(name: str) -> bool:
    return Path(name).is_absolute()


def listing(name: str, revision: str | None) -> Listing:
    """Of `owner/name` at a branch, tag or commit, or of an absolute folder."""
    if is_local(name):
        found = _folder(Path(name))
    else:
        check_hub_name(name)
        check_revision(revision or "")
        found = _remote(name, revision or None)
    _check(found)
    return found


def check_hub_name(name: str) -> None:
    if len(name) > LONGEST_NAME or not HUB_NAME.fullmatch(name):
        raise DatasetError(f"“{name[:100]}” is no name of a dataset. Write owner/name, as on the dataset's page.")


def check_revision(revision: str) -> None:
    """A branch, a tag, a commit, or nothing for the newest."""
    if not REVISION.fullmatch(revision):
        raise DatasetError(
            f"“{revision[:100]}” is no revision. Give a branch, a tag or a full commit, or leave it empty."
        )


def check_commit(revision: str) -> None:
    if not COMMIT.fullmatch(revision):
        raise DatasetError(f"“{revision[:100]}” is no full commit. Look the dataset up again.")


def blocks(name: str, revision: str, file: str) -> Iterator[bytes]:
    """The bytes of a file of a listing."""
    return _local_blocks(Path(name) / file) if is_local(name) else _remote_blocks(name, revision, file)


def fingerprint(names: Iterable[str], paths: Iterable[Path]) -> str:
    """SHA-256 over the files' names and contents."""
    whole = hashlib.sha256()
    for name, path in zip(names, paths, strict=True):
        with _readable(path), path.open("rb") as file:
            whole.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def inside(path: str) -> bool:
    """Whether a path or pattern is relative and stays inside its dataset."""
    strange = ("\\" in path, "\0" in path, ":" in path, path.startswith(("/", "~")), ".." in path.split("/"))
    return bool(path) and not any(strange)


def _check(found: Listing) -> None:
    script = f"{PurePosixPath(found.name).name}.py"
    if script in found.sizes:
        raise DatasetError(
            f"{found.name} is made by a loading script, {script}, and the studio runs no code of a dataset. "
            f"Try the revision {CONVERTED}, where the hub keeps what it made of many such datasets."
        )
    if len(found.sizes) > LISTED or sum(map(readable, found.sizes)) > FILES:
        raise DatasetError(
            f"{found.name} has too many files: at most {FILES:,} with rows and {LISTED:,} in all are looked at. "
            "Upload those you want to train on as one file."
        )


def _folder(folder: Path) -> Listing:
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder on the studio's machine. Check the path, or upload the file itself.")
    sizes: dict[str, int] = {}
    with _readable(folder):
        for root, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths = [Path(root) / file for file in sorted(files)]
            sizes |= {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths if path.is_file()}
            if len(sizes) > LISTED:
                break
    readme = b"".join(_local_blocks(folder / README)) if sizes.get(README, README_LIMIT) < README_LIMIT else b""
    return Listing(str(folder), "", sizes, readme.decode(errors="replace"))


def _raise(error: OSError) -> None:
    raise error


def _local_blocks(path: Path) -> Iterator[bytes]:
    with _readable(path), path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise DatasetError(f"{place} cannot be read: {error.strerror}. Let the studio read it.") from error


def _remote(name: str, revision: str | None) -> Listing:
    from huggingface_hub import HfApi

    with _reachable(name, revision):
        info = HfApi().dataset_info(name, revision=revision, files_metadata=True, timeout=SECONDS)
    commit, sizes = str(info.sha), {file.rfilename: file.size or 0 for file in info.siblings or ()}
    if not COMMIT.fullmatch(commit) or not all(map(inside, sizes)):
        raise DatasetError(f"What the hub says of {name} cannot be used. Try again later, or upload the file itself.")
    size = sizes.get(README, 0)
    readme = bytearray()
    for block in _remote_blocks(name, commit, README) if 0 < size < README_LIMIT else ():
        readme += block
        if len(readme) > README_LIMIT:
            break
    return Listing(name, commit, sizes, readme.decode(errors="replace"))


def _remote_blocks(name: str, revision: str, file: str) -> Iterator[bytes]:
    from huggingface_hub import get_session, get_token, hf_hub_url, hf_raise_for_status

    url = hf_hub_url(name, file, repo_type="dataset", revision=revision)
    token = get_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with (
        _reachable(name, revision),
        get_session().stream("GET", url, headers=headers, timeout=SECONDS) as response,
    ):
        hf_raise_for_status(response)
        yield from response.iter_bytes(STREAMED)


@contextmanager
def _reachable(name: str, revision: str | None) -> Iterator[None]:
    """What can go wrong with a hub, worded for the person; the order goes from the special to the general."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise DatasetError(f"{name} is gated. Accept its terms on its page on the hub; then {TOKEN}.") from error
    except errors.RepositoryNotFoundError as error:
        raise DatasetError(
            f"The hub has no dataset {name}, or it is private. Check the spelling; if it is private, {TOKEN}."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DatasetError(
            f"{name} has no revision “{revision}”. Give a branch, a tag or a full commit of it, or leave it empty."
        ) from error
    except errors.HfHubHTTPError as error:
        raise DatasetError(f"{name} was refused by the hub: {_answer(error.response.status_code)}") from error
    except (errors.OfflineModeIsEnabled, httpx2.HTTPError) as error:
        raise DatasetError(
            f"The hub cannot be reached for {name} ({type(error).__name__}). Check the studio's network and "
            "HF_HUB_OFFLINE, or upload the file itself."
        ) from error
    except ValueError as error:
        raise DatasetError(
            f"What answers for {name} is not the hub, or its name cannot be. Check HF_ENDPOINT and the name."
        ) from error


def _answer(status: int) -> str:
    if status in (401, 403):
        return f"the token may not read it ({status}). If it should, {TOKEN}."
    if status == 429:
        return "too many requests (429). Wait some minutes and try again."
    return f"it answered {status}. Try again later, or upload the file itself."
