"""Folders are what a hub's dataset looks like on disk; a hub itself is stood in for by fake_hub, on loopback."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from app.services import hub
from db.settings import settings
from prolora.errors import DatasetError
from tests.app.conftest import free_port
from tests.app.fake_hub import COMMIT, ROW, TAGGED, fake_hub

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dataset"
    made.mkdir()
    return made


@pytest.fixture
def into(tmp_path: Path) -> Path:
    made = tmp_path / "into"
    made.mkdir()
    return made


@pytest.fixture
def a_megabyte(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The most that may be uploaded."""
    monkeypatch.setenv("STUDIO_MAX_UPLOAD_MB", "1")
    settings.cache_clear()
    yield
    settings.cache_clear()


def put(folder: Path, **files: str | bytes) -> None:
    """Files by name, with __ for a slash."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def readme(folder: Path, configs: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{configs}\n---\n# A dataset\n")


def put_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def fetch(folder: Path, into: Path, split: str = "train") -> Path:
    return hub.fetch(hub.resolve(str(folder), "", split), into, lambda done, total: None)


def why(folder: Path | str, config: str = "", split: str = "train", revision: str | None = None) -> str:
    with pytest.raises(DatasetError) as caught:
        hub.resolve(str(folder), config, split, revision)
    return str(caught.value)


# Configs, splits and files


def test_files_named_after_their_splits_need_no_readme(folder: Path) -> None:
    put(folder, train_jsonl=ROW, test_jsonl=ROW, notes_txt="x")
    assert hub.choices(str(folder)) == hub.Choices(str(folder), "", {"default": ("train", "test")})
    assert hub.resolve(str(folder), "", "test").files == ("test.jsonl",)


def test_a_file_that_fits_two_patterns_counts_once(folder: Path) -> None:
    put(folder, train__train_jsonl=ROW)
    assert hub.resolve(str(folder), "", "train").files == ("train/train.jsonl",)


def test_the_readme_says_which_files_make_up_a_config_and_its_default_comes_first(folder: Path) -> None:
    put(folder, fr__a_jsonl=ROW, fr__b_jsonl=ROW, en__a_jsonl=ROW, en__c_csv="a,b\n")
    readme(
        folder,
        "- config_name: fr\n  data_files:\n  - split: train\n    path: [fr/b.jsonl, 'fr/*']\n"
        "- config_name: en\n  default: true\n  data_files:\n  - {split: train, path: en/a.jsonl}\n"
        "  - {split: other.2, path: '**/c.csv'}\n"
        "- config_name: all\n  data_files: '*/*.jsonl'\n"
        "- config_name: by folder\n  data_dir: en\n",
    )
    found = hub.choices(str(folder))
    assert found.configs == ("en", "fr", "all", "by folder")
    assert found.splits["en"] == ("train", "other.2")
    assert hub.resolve(str(folder), "fr", "train").files == ("fr/b.jsonl", "fr/a.jsonl")
    assert hub.resolve(str(folder), "all", "train").files == ("en/a.jsonl", "fr/a.jsonl", "fr/b.jsonl")
    assert hub.resolve(str(folder), "by folder", "train").files == ("en/a.jsonl", "en/c.csv")


def test_an_unknown_config_or_split_lists_those_there_are(folder: Path) -> None:
    put(folder, a_jsonl=ROW, b_jsonl=ROW)
    readme(folder, "- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n")
    assert "no config named “c”. Choose one of: a, b." in why(folder, "c")
    assert "several configs. Choose one of: a, b." in why(folder)
    assert "no split named “dev”. Choose one of: train." in why(folder, "a", "dev")


def test_a_dataset_of_test_items_alone_offers_them_by_name(folder: Path) -> None:
    put(folder, test_jsonl=ROW)
    assert "only a split named “test”. Choose “test” if" in why(folder)


def test_a_loading_script_is_never_run(folder: Path) -> None:
    put(folder, train_jsonl=ROW, dataset_py="raise SystemExit")
    assert "a loading script, dataset.py" in why(folder)


@pytest.mark.parametrize("path", ["/etc/hosts.json", "../other/a.jsonl", "http://127.0.0.1/a.jsonl", "zip://a::b.zip"])
def test_a_readme_names_nothing_outside_of_its_dataset(folder: Path, path: str) -> None:
    put(folder, a_jsonl=ROW)
    readme(folder, f"- config_name: a\n  data_files: '{path}'\n")
    assert f"“{path}”, which lies outside of the dataset" in why(folder)


@pytest.mark.parametrize(
    ("configs", "reason"),
    [
        ("- config_name: a\n  data_files: gone.jsonl", "it names gone.jsonl, which is not there"),
        ("- config_name: a\n  data_files: [{split: train}]", "neither a pattern nor a pair"),
        ("- config_name: a\n  data_files: {split: '../x', path: a.jsonl}", "neither a pattern nor a pair"),
        ("- config_name: a\n  data_files: [{split: train, path: [1]}]", "a file's name in it is no text"),
        ("- data_files: a.jsonl", "no list of configs that each have a `config_name`"),
        ("- [", "cannot be parsed"),
        ("- " + "[" * 100_000, "cannot be parsed"),
        ("- &a {config_name: a}\n- {<<: [*a, *a]}", "or merges mappings with <<"),
    ],
)
def test_a_readme_that_cannot_be_used_says_why(folder: Path, configs: str, reason: str) -> None:
    put(folder, a_jsonl=ROW)
    readme(folder, configs)
    assert reason in why(folder)


def test_a_folder_without_readable_files_says_what_is_read(folder: Path) -> None:
    put(folder, picture_png=b"\x89PNG")
    assert "no file that the studio reads, which are .jsonl" in why(folder)


@pytest.mark.parametrize("name", ["", "squad", "../x", "./data", "a/b/c", "owner/..", "owner/name@main", "http://a/b"])
def test_only_hub_names_and_whole_paths_are_names(name: str) -> None:
    assert "is no name of a dataset. Write owner/name" in why(name)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "is no folder on the studio's machine" in why(tmp_path / "gone")


def test_a_dataset_of_too_many_files_is_not_looked_through(folder: Path) -> None:
    for number in range(5_001):
        (folder / f"{number}.jsonl").touch()
    assert "too many files: at most 5,000" in why(folder)


# The revision of a folder


def test_a_folders_revision_changes_with_its_contents(folder: Path) -> None:
    put(folder, train_jsonl=ROW)
    before = hub.resolve(str(folder), "", "train")
    assert hub.resolve(str(folder), "", "train", before.revision) == before
    put(folder, train_jsonl=ROW[::-1])
    assert hub.resolve(str(folder), "", "train").revision != before.revision
    assert "no longer, those of revision" in why(folder, revision=before.revision)


def test_a_file_that_changes_before_it_is_fetched_is_refused(folder: Path, into: Path) -> None:
    put(folder, train_jsonl=ROW)
    split = hub.resolve(str(folder), "", "train")
    put(folder, train_jsonl=ROW[::-1])
    with pytest.raises(DatasetError, match="have changed meanwhile"):
        hub.fetch(split, into, lambda done, total: None)
    assert not list(into.iterdir())


# Fetching


def test_a_single_file_comes_as_it_is_and_tells_its_progress(folder: Path, into: Path) -> None:
    put(folder, train_csv="a;b\n007;1.10\n")
    seen: list[tuple[int, int]] = []
    file = hub.fetch(hub.resolve(str(folder), "", "train"), into, lambda *counts: seen.append(counts))
    assert file == into / "train.csv"
    assert file.read_bytes() == b"a;b\n007;1.10\n"
    assert seen == [(0, 13), (13, 13)]
    assert list(into.iterdir()) == [file]


def test_lines_of_shards_are_joined_each_on_its_own(folder: Path, into: Path) -> None:
    put(
        folder,
        train__a_jsonl=b'\xef\xbb\xbf{"a": "007"}',
        train__b_jsonl=b"",
        train__c_jsonl_gz=gzip.compress(b'{"a": "NA"}\n'),
    )
    file = fetch(folder, into)
    assert file == into / "train.jsonl"
    assert file.read_bytes() == b'{"a": "007"}\n{"a": "NA"}\n'


def test_parquet_shards_are_joined_with_their_strings_as_they_are(folder: Path, into: Path) -> None:
    rows = [{"a": "007", "b": ["true", None]}, {"a": None, "b": []}, {"a": "2024-01-01", "b": ["1.10"]}]
    put_parquet(folder / "data" / "train-00000-of-00002.parquet", rows[:2])
    put_parquet(folder / "data" / "train-00001-of-00002.parquet", rows[2:])
    file = fetch(folder, into)
    assert file == into / "train.parquet"
    assert parquet.read_table(file).to_pylist() == rows


def test_parquet_shards_of_other_columns_are_not_joined(folder: Path, into: Path) -> None:
    put_parquet(folder / "data" / "train-00000-of-00002.parquet", [{"a": "007"}])
    put_parquet(folder / "data" / "train-00001-of-00002.parquet", [{"a": 7}])
    with pytest.raises(DatasetError, match=r"train-00001-of-00002\.parquet has other columns.*a: int64.*a: string"):
        fetch(folder, into)
    assert not list(into.iterdir())


def test_a_damaged_shard_is_named(folder: Path, into: Path) -> None:
    put(
        folder,
        train__a_jsonl=ROW,
        train__b_jsonl_gz=gzip.compress(ROW)[:-9],
        test__a_parquet=b"PAR1",
        test__b_parquet=b"PAR1",
    )
    with pytest.raises(DatasetError, match=r"b\.jsonl\.gz cannot be unpacked"):
        fetch(folder, into)
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read as Parquet"):
        fetch(folder, into, "test")
    assert not list(into.iterdir())


def test_shards_in_utf_16_are_not_joined(folder: Path, into: Path) -> None:
    put(folder, train__a_jsonl=ROW, train__b_jsonl=ROW.decode().encode("utf-16"))
    with pytest.raises(DatasetError, match=r"b\.jsonl is text in UTF-16"):
        fetch(folder, into)


@pytest.mark.parametrize("ending", ["json", "csv", "jsonl.zip"])
def test_files_that_cannot_be_joined_are_named(folder: Path, into: Path, ending: str) -> None:
    (folder / f"train-1.{ending}").write_bytes(b"[]")
    (folder / f"train-2.{ending}").write_bytes(b"[]")
    with pytest.raises(DatasetError, match=rf"2 files that cannot be joined: train-1.{ending}, train-2.{ending}\."):
        fetch(folder, into)


def test_a_split_over_the_limit_is_refused_with_its_size(a_megabyte: None, folder: Path) -> None:
    put(folder, train_jsonl=b" " * (3 << 19))
    assert "has 1.5 MB in 1 file(s), and the studio takes 1 MB" in why(folder)


def test_shards_that_swell_are_stopped(a_megabyte: None, folder: Path, into: Path) -> None:
    bomb = gzip.compress(b" " * (5 << 20))
    put(folder, train__a_jsonl_gz=bomb, train__b_jsonl_gz=bomb)
    put_parquet(folder / "test" / "a.parquet", [{"a": "x" * (1 << 20)}] * 5)
    put_parquet(folder / "test" / "b.parquet", [{"a": "x"}])
    for split in ("train", "test"):
        with pytest.raises(DatasetError, match=r"over 4\.0 MB unpacked"):
            fetch(folder, into, split)
    assert not list(into.iterdir())


def test_a_stop_leaves_nothing_behind(folder: Path, into: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    put(folder, train__a_jsonl=ROW, train__b_jsonl=ROW)
    with pytest.raises(KeyboardInterrupt):
        hub.fetch(hub.resolve(str(folder), "", "train"), into, stop)
    assert not list(into.iterdir())


# A hub


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Ask]]:
    """Starts a process that speaks to the hub at an address; gives what asks it."""
    children = []

    def child(address: str, **more: str) -> Ask:
        home = {"HF_HOME": str(tmp_path_factory.mktemp("home")), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0"}
        environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"} | home | more
        command = [sys.executable, "-m", "tests.app.hub_child"]
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        children.append(process)

        def ask(*call: Any) -> Any:
            print(json.dumps(call), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        return ask

    yield child
    for process in children:
        process.communicate(timeout=10)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with fake_hub() as address:
        yield address


@pytest.fixture(scope="module")
def ask(start: Callable[..., Ask], address: str) -> Ask:
    return start(address)


def test_a_hubs_dataset_is_pinned_to_its_commit(ask: Ask) -> None:
    splits = {"default": ["train", "test"]}
    assert ask("choices", "owner/plain")["answer"] == {"name": "owner/plain", "revision": COMMIT, "splits": splits}
    split = ask("resolve", "owner/plain", "", "train", "v1")["answer"]
    assert (split["revision"], split["files"], split["size"]) == (TAGGED, ["train.jsonl"], len(ROW))


def test_a_hubs_file_comes_whole(ask: Ask, into: Path) -> None:
    answer = ask("fetch", "owner/plain", "train", str(into))["answer"]
    assert Path(answer["file"]).read_bytes() == ROW * 3
    assert answer["seen"][-1] == [3 * len(ROW), 3 * len(ROW)]


def test_the_hubs_own_parquet_keeps_its_configs_apart(ask: Ask) -> None:
    answer = ask("choices", "owner/scripted", "refs/convert/parquet")["answer"]
    assert answer["splits"] == {"en": ["test", "train"], "fr": ["test", "train"]}


@pytest.mark.parametrize(
    ("name", "revision", "reason"),
    [
        ("owner/none", None, "The hub has no dataset owner/none, or it is private"),
        ("owner/plain", "v9", "owner/plain has no revision “v9”"),
        ("owner/gated", None, "owner/gated is gated. Accept its terms on its page on the hub; then set HF_TOKEN"),
        ("owner/scripted", None, "a loading script, scripted.py"),
        ("owner/broken", None, "it answered 500"),
        ("owner/page", None, "is not the hub"),
        ("owner/escaping", None, "What the hub says of owner/escaping cannot be used"),
        ("owner/two--dashes", None, "its name cannot be"),
    ],
)
def test_what_a_hub_refuses_is_worded(ask: Ask, name: str, revision: str | None, reason: str) -> None:
    assert reason in ask("choices", name, revision)["error"]


def test_a_token_opens_a_gated_dataset_and_is_not_told_to_where_its_files_lie(
    start: Callable[..., Ask], address: str, into: Path
) -> None:
    answer = start(address, HF_TOKEN="good")("fetch", "owner/gated", "train", str(into))["answer"]
    assert Path(answer["file"]).read_bytes() == ROW


def test_a_file_that_is_cut_off_leaves_nothing_behind(ask: Ask, into: Path) -> None:
    assert (
        f"did not come as announced, with {len(ROW)} bytes" in ask("fetch", "owner/short", "train", str(into))["error"]
    )
    assert not list(into.iterdir())


def test_asking_a_hub_loads_no_torch(ask: Ask) -> None:
    ask("choices", "owner/plain")
    assert ask("loaded")["answer"] == []


def test_a_full_disk_leaves_nothing_behind_and_a_missing_hub_is_said(
    start: Callable[..., Ask], folder: Path, into: Path
) -> None:
    put(folder, train_jsonl=ROW * 100)
    child = start(f"http://127.0.0.1:{free_port()}")
    assert "The hub cannot be reached for owner/plain (ConnectError)" in child("choices", "owner/plain")["error"]
    child("limited", 1_000)
    assert "cannot be stored: File too large. See that" in child("fetch", str(folder), "train", str(into))["error"]
    assert not list(into.iterdir())


def test_a_studio_that_is_offline_says_so() -> None:
    assert "The hub cannot be reached for owner/plain (OfflineModeIsEnabled)" in why("owner/plain")
