"""Which files make up each config and split, by the README's YAML or the files' names, as `datasets` has it.

Patterns are matched against a skeleton of empty files, never against the disk or the network, so that a README can
name nothing but files of its own dataset.
"""

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.services.hub.listing import Listing, inside
from app.services.hub.shards import READABLE, readable
from prolora.errors import DatasetError

SPLIT = re.compile(r"\w+([.-]\w+)*")
FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?\n)---[ \t]*\r?(\n|$)", re.DOTALL)
# How the hub lays out the Parquet that it makes of datasets: config/split/0000.parquet.
EXPORTED = re.compile(r"([^/]+)/([^/]+)/\d{4}\.parquet")

Splits = dict[str, list[str]]


def configs(listing: Listing) -> dict[str, Splits]:
    """The files of each split of each config; what has no readable file is left out."""
    files = [file for file in listing.sizes if readable(file)]
    specs = _specs(listing)
    exported = [match for file in files if (match := EXPORTED.fullmatch(file))]
    if not specs and len(exported) == len(files):
        found = _of_export(exported)
    else:
        with tempfile.TemporaryDirectory() as skeleton:
            _lay_out(Path(skeleton), files)
            matched = {
                name: _matched(listing, Path(skeleton), spec) for name, spec in (specs or {"default": {}}).items()
            }
        found = {name: splits for name, splits in matched.items() if splits}
    if not found:
        raise DatasetError(f"{listing.name} has no file that the studio reads, which are {', '.join(READABLE)}.")
    return found


def _of_export(exported: Iterable[re.Match[str]]) -> dict[str, Splits]:
    found: dict[str, Splits] = {}
    for match in sorted(exported, key=lambda match: match[0]):
        found.setdefault(match[1], {}).setdefault(match[2], []).append(match[0])
    return found


def _lay_out(skeleton: Path, files: Iterable[str]) -> None:
    for file in files:
        path = skeleton / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _specs(listing: Listing) -> dict[str, dict[str, Any]]:
    """What the README's YAML says of each config, the default one first; nothing when it is silent."""
    from yaml import YAMLError

    front = FRONT_MATTER.match(listing.readme)
    try:
        said = _parsed(front[1]) if front else None
    except (YAMLError, RecursionError, ValueError) as error:
        raise _bad(listing, "its YAML cannot be parsed, or merges mappings with <<") from error
    specs = said.get("configs") if isinstance(said, dict) else None
    if not specs:
        return {}
    if not isinstance(specs, list) or not all(
        isinstance(spec, dict) and isinstance(spec.get("config_name"), str) for spec in specs
    ):
        raise _bad(listing, "`configs` is no list of configs that each have a `config_name`")
    specs = sorted(specs, key=lambda spec: spec.get("default") is not True)
    return {spec["config_name"]: spec for spec in specs}


def _parsed(front: str) -> Any:
    """Without merging: some lines that merge mappings of mappings grow to more than any memory holds."""
    from yaml import SafeLoader

    loader = SafeLoader(front)
    loader.flatten_mapping = lambda _node: None  # the merge key is then one that nobody can construct
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _matched(listing: Listing, skeleton: Path, spec: dict[str, Any]) -> Splits:
    from datasets.data_files import EmptyDatasetError, get_data_patterns

    base = skeleton / _checked(listing, spec.get("data_dir") or ".")
    if spec.get("data_files"):
        patterns = _said(listing, spec["data_files"])
    else:
        try:
            patterns = get_data_patterns(str(base))
        except EmptyDatasetError:
            return {}
    found = {str(split): _files(listing, base, wanted) for split, wanted in patterns.items()}
    return {split: [file.relative_to(skeleton).as_posix() for file in files] for split, files in found.items() if files}


def _files(listing: Listing, base: Path, patterns: Iterable[Any]) -> list[Path]:
    """The files of a split in order, each once, however many patterns it fits."""
    from datasets.data_files import contains_wildcards, resolve_pattern

    found: list[str] = []
    for pattern in patterns:
        try:
            found += sorted(resolve_pattern(_checked(listing, pattern), str(base)))
        except FileNotFoundError as error:
            if readable(pattern) and not contains_wildcards(pattern):
                raise _bad(listing, f"it names {pattern}, which is not there") from error
    return [Path(file) for file in dict.fromkeys(found)]


def _said(listing: Listing, data_files: Any) -> dict[str, list[Any]]:
    """`data_files` in its spellings: a pattern, patterns, or for each split an entry of `split` and `path`."""
    found: dict[str, list[Any]] = {}
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        match entry:
            case str(path):
                found.setdefault("train", []).append(path)
            case {"split": str(split), "path": str(path)} if SPLIT.fullmatch(split):
                found.setdefault(split, []).append(path)
            case {"split": str(split), "path": [*paths]} if SPLIT.fullmatch(split):
                found.setdefault(split, []).extend(paths)
            case _:
                raise _bad(listing, "an entry of `data_files` is neither a pattern nor a pair of `split` and `path`")
    return found


def _checked(listing: Listing, pattern: Any) -> str:
    if not isinstance(pattern, str):
        raise _bad(listing, "a file's name in it is no text")
    if not inside(pattern):
        raise _bad(listing, f"it names “{pattern[:80]}”, which lies outside of the dataset")
    return pattern


def _bad(listing: Listing, reason: str) -> DatasetError:
    return DatasetError(
        f"The README.md of {listing.name} cannot be used: {reason}. Mend it, or upload the file itself."
    )
