import os
import subprocess
import sys
from pathlib import Path

import pytest

from db import files


def test_every_path_lies_in_the_data_folder_and_none_is_another(data: Path) -> None:
    paths = [
        files.dataset_rows("a1"),
        files.dataset_rejects("a1"),
        files.dataset_source("a1", "jsonl"),
        files.job_log(1),
        files.run_dir(1),
        files.predictions(1, "adapter"),
        files.predictions(1, "base"),
        files.adapter_dir("a1"),
        files.published_dir("tickets-v1"),
        files.uploads_dir(),
        files.broker_dir(),
        files.log_dir(),
        files.lock_file(),
        files.survey_near("a1"),
        files.survey_overlap("a1", "sums"),
        files.survey_lengths("a1", "b2"),
        files.survey_log(),
        files.benchmark_root(),
        files.benchmark_dir("sums"),
    ]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(data.resolve()) for path in paths)


def test_the_data_folder_and_what_is_in_it_is_private(data: Path) -> None:
    for folder in (files.data_dir(), files.job_dir(1), files.uploads_dir(), files.broker_dir(), files.published_root()):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_an_adapters_folder_is_not_made_before_its_content(data: Path) -> None:
    assert not files.adapter_dir("a1").exists()
    assert not files.dataset_dir("a1").exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "/etc", "a\\b", "a\0b", "a b", "é", "a\n", "-rf", "x" * 201]
)
def test_a_name_that_leads_elsewhere_is_refused(data: Path, name: str) -> None:
    for path in (files.published_dir, files.adapter_dir, files.dataset_dir):
        with pytest.raises(files.UnsafeName):
            path(name)


def test_a_file_is_replaced_whole_or_not_at_all(data: Path) -> None:
    target = files.survey_near("a1")
    with files.replace(target) as aside:
        aside.write_text("first")
    with pytest.raises(UnicodeEncodeError), files.replace(target) as aside:
        aside.write_text("half \ud83d", encoding="utf-8")
    assert target.read_text() == "first"
    with files.replace(target) as aside:
        aside.write_text("second")
    assert target.read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_written_aside_appears_whole(data: Path) -> None:
    target = files.adapter_dir("a1")
    with files.write_aside(target) as aside:
        (aside / "deep").mkdir()
        (aside / "deep" / "weights").write_bytes(b"123")
        assert not target.exists()
        assert aside.parent == target.parent
    assert (target / "deep" / "weights").read_bytes() == b"123"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_whose_writing_failed_never_appears(data: Path) -> None:
    target = files.adapter_dir("a1")
    with pytest.raises(IsADirectoryError), files.write_aside(target) as aside:
        aside.write_bytes(b"12")
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_is_there_is_left_as_it_is(data: Path) -> None:
    target = files.adapter_dir("a1")
    for content in (b"first", b"second"):
        with files.write_aside(target) as aside:
            (aside / "weights").write_bytes(content)
    assert (target / "weights").read_bytes() == b"first"
    assert list(target.parent.iterdir()) == [target]


def test_of_two_writers_at_once_the_first_to_finish_stays(data: Path) -> None:
    target = files.adapter_dir("a1")
    with files.write_aside(target) as slow:
        (slow / "weights").write_bytes(b"slow")
        with files.write_aside(target) as quick:
            (quick / "weights").write_bytes(b"quick")
    assert (target / "weights").read_bytes() == b"quick"


def test_all_is_on_the_disk_before_the_name_is(data: Path) -> None:
    """Seen from outside: the order of the calls to the kernel, of a process of its own."""
    program = (
        "import os, pathlib\n"
        "calls, sync, rename = [], os.fsync, os.rename\n"
        "os.fsync = lambda fd: (calls.append(os.readlink(f'/proc/self/fd/{fd}')), sync(fd))[1]\n"
        "os.rename = lambda a, b: (calls.append('rename'), rename(a, b))[1]\n"
        "from db import files\n"
        "target = files.adapter_dir('a1')\n"
        "with files.write_aside(target) as aside:\n"
        "    (aside / 'weights').write_bytes(b'1')\n"
        "print(*[pathlib.Path(c).name.rsplit('.', 1)[0] for c in calls])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == ["weights", ".a1", "rename", "adapters"]
