import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from sqlalchemy import update

from app import survey, surveyor
from app.services import benchmarks, surveys
from app.services.findings import Contamination, Copy, NearCopies, Overlaps, Shared, TokenCounts
from db import files
from db.models import OWNER, Dataset, Survey
from db.session import session
from prolora.base_models import DEMO
from prolora.chat import ChatTokenizer
from prolora.dataset import Row, read_rows, split, write_rows
from prolora.dataset.lengths import Cut
from prolora.dataset.overlap import SHINGLE

LONG = "a baker sells nine loaves in the morning and twice as many after the bells have rung at noon"
OTHER = "the ship that left our harbour at dawn was seen again near the islands ten years later by nobody"
RULES = "Be brief. " * 60
TEXTS = [(f"How much is item {i}?", f"It is {i} euros, as the list of item {i} says.") for i in range(30)]
COPIES = [*TEXTS, (LONG, "Eighteen."), (OTHER, "Nobody."), (LONG, "Eighteen loaves.")]
GONE_AFTER = 10  # seconds


def rows_of(texts: Sequence[tuple[str, str]]) -> list[Row]:
    """Every second line of a file, all under the same rules."""
    turns = (
        (
            {"role": "system", "content": RULES},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        )
        for question, answer in texts
    )
    return [Row(messages, 2 * at + 1) for at, messages in enumerate(turns)]


def add(texts: Sequence[tuple[str, str]]) -> int:
    rows = rows_of(texts)
    digest = f"{len(rows):064d}"
    with files.write_aside(files.dataset_dir(digest)) as folder:
        write_rows(folder / files.dataset_rows(digest).name, rows)
    facts = {"kept": len(rows), "rejected": 0, "held_out": len(split(rows)[1]), "mapping": {}, "form": "alpaca"}
    with session() as s:
        dataset = Dataset(
            owner_id=OWNER, name="items", source_name="items.jsonl", source_hash="5" * 64, content_hash=digest, **facts
        )
        s.add(dataset)
    return dataset.id


def many() -> int:
    """A dataset that takes seconds to count."""
    return add([(f"{LONG} {i}", f"{OTHER} {i}") for i in range(20_000)])


@pytest.fixture
def items(studio: Path) -> int:
    return add(COPIES)


def running(dataset_id: int, kind: str) -> None:
    surveys.ask(dataset_id, kind)
    with session() as s:
        s.execute(update(Survey).where(Survey.kind == kind).values(state=surveys.RUNNING))


def counted(dataset_id: int, kind: str) -> surveys.Survey:
    """In this process."""
    running(dataset_id, kind)
    survey.main(dataset_id, kind)
    return found(dataset_id, kind)


def found(dataset_id: int, kind: str) -> surveys.Survey:
    return next(each for each in surveys.of(dataset_id) if each.kind == kind)


def state(dataset_id: int, kind: str) -> str:
    return found(dataset_id, kind).state


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GONE_AFTER
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_asked_for_waits_once_and_in_order(items: int) -> None:
    for _ in range(2):
        surveys.start(items, ["demo"])
    assert [(each.kind, each.state) for each in surveys.of(items)] == [
        ("near", "waiting"),
        ("overlap", "waiting"),
        ("lengths:demo", "waiting"),
    ]


def test_near_copies_are_found_whatever_rules_all_rows_share(items: int) -> None:
    made = counted(items, surveys.NEAR)
    assert (made.state, made.done, made.error) == ("done", 1.0, None)
    assert isinstance(made.found, NearCopies)
    (copy,) = made.found.examples
    assert (made.found.rows, made.found.copies) == (33, 1)
    assert copy == Copy(row=32, line=65, original=30, original_line=61, similarity=copy.similarity)
    assert 0.8 <= copy.similarity < 1
    listed = surveys.near_copies(items)
    assert listed is not None
    assert listed.tolist() == [(32, 30, copy.similarity)]


def test_only_the_first_near_copies_are_shown_and_all_are_listed(studio: Path) -> None:
    dataset_id = add([(LONG, "Eighteen.")] * 40)
    made = counted(dataset_id, surveys.NEAR).found
    assert isinstance(made, NearCopies)
    assert (made.copies, len(made.examples)) == (39, 20)
    listed = surveys.near_copies(dataset_id)
    assert listed is not None
    assert len(listed) == 39


def test_overlap_with_no_benchmark_is_none(items: int) -> None:
    assert counted(items, surveys.OVERLAP).found == Overlaps(rows=33, benchmarks=())


def bakers(folder: Path) -> Path:
    path = folder / "bakers.jsonl"
    path.write_text("\n".join(json.dumps({"question": each, "answer": "18"}) for each in ("Why?", f"{LONG}.")))
    return path


def test_rows_that_quote_a_benchmark_are_shown_with_the_item_and_the_words(items: int, tmp_path: Path) -> None:
    benchmarks.import_benchmark("bakers", [bakers(tmp_path)])
    words = " ".join(LONG.split()[:SHINGLE])
    shown = tuple(Shared(row=row, line=2 * row + 1, item=1, words=words) for row in (30, 32))
    assert counted(items, surveys.OVERLAP).found == Overlaps(
        33, (Contamination("bakers", rows=2, items=1, total=2, short=1, examples=shown),)
    )
    listed = surveys.overlapping(items, "bakers")
    assert listed is not None
    assert listed.tolist() == [30, 32]


def test_importing_or_forgetting_a_benchmark_has_every_dataset_searched_anew(items: int, tmp_path: Path) -> None:
    counted(items, surveys.OVERLAP)
    counted(items, surveys.NEAR)
    benchmarks.import_benchmark("bakers", [bakers(tmp_path)])
    assert (state(items, surveys.OVERLAP), state(items, surveys.NEAR)) == ("waiting", "done")
    counted(items, surveys.OVERLAP)
    benchmarks.forget("bakers")
    assert state(items, surveys.OVERLAP) == "waiting"


def test_lengths_are_those_of_the_bases_tokens(items: int) -> None:
    rows = read_rows(files.dataset_rows(f"{33:064d}"))
    encoded = [ChatTokenizer(DEMO).encode(row.messages) for row in rows]
    totals = [len(each.ids) for each in encoded]
    made = counted(items, surveys.lengths_on("demo"))
    assert made.found == TokenCounts("demo", 33, sum(totals), sum(each.trained for each in encoded), max(totals))
    lengths = surveys.lengths(items, "demo")
    assert lengths is not None
    assert lengths.total.tolist() == totals


def test_a_cut_off_is_judged_by_the_rows_that_are_trained_on(items: int) -> None:
    counted(items, surveys.lengths_on("demo"))
    train, _ = split(read_rows(files.dataset_rows(f"{33:064d}")))
    encoded = [ChatTokenizer(DEMO).encode(row.messages) for row in train]
    for cutoff in (16, 300, 320, 340, 2000):
        cut = sum(len(each.ids) > cutoff for each in encoded)
        untrained = sum(True not in each.mask[:cutoff] for each in encoded)
        assert surveys.cut(items, "demo", cutoff) == Cut(len(train), cut, untrained)


def test_before_they_are_counted_nothing_is_known_of_lengths(items: int) -> None:
    assert surveys.lengths(items, "demo") is None
    assert surveys.cut(items, "demo", 256) is None
    assert surveys.cut(items, "llama-2-7b", 256) is None
    assert surveys.cut(99, "demo", 256) is None
    assert surveys.near_copies(items) is None
    assert surveys.overlapping(items, "bakers") is None


def model(folder: Path) -> Path:
    """The demo base, with a tokenizer of its own."""
    folder.mkdir()
    for each in DEMO.iterdir():
        (folder / each.name).symlink_to(each)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_bytes((DEMO / "tokenizer.json").read_bytes())
    return folder


def test_lengths_are_those_of_todays_tokenizer_and_counted_anew_after_a_change(items: int, tmp_path: Path) -> None:
    folder = model(tmp_path / "base")
    kind = surveys.lengths_on(str(folder))
    assert counted(items, kind).state == "done"
    assert surveys.lengths(items, str(folder)) is not None
    surveys.ask(items, kind)
    assert state(items, kind) == "done"
    with (folder / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert surveys.lengths(items, str(folder)) is None
    surveys.ask(items, kind)
    assert state(items, kind) == "waiting"


def test_two_bases_of_one_tokenizer_share_their_lengths(items: int, tmp_path: Path) -> None:
    counted(items, surveys.lengths_on("demo"))
    assert surveys.lengths(items, str(model(tmp_path / "base"))) is not None


def test_a_base_that_was_never_fetched_has_no_tokenizer_to_count_with(items: int) -> None:
    made = counted(items, surveys.lengths_on("llama-2-7b"))
    assert made.state == "failed"
    assert made.error is not None
    assert "LLaMA-2 7B is not on this machine yet" in made.error
    assert "hf download meta-llama/Llama-2-7b-hf" in made.error


def test_a_tokenizer_that_is_none_fails_with_a_sentence(items: int, tmp_path: Path) -> None:
    folder = model(tmp_path / "base")
    (folder / "tokenizer.json").write_text("{")
    made = counted(items, surveys.lengths_on(str(folder)))
    assert (made.state, made.found) == ("failed", None)
    assert made.error is not None
    assert "is not a tokenizer" in made.error


def test_rows_that_are_gone_fail_with_a_sentence(items: int) -> None:
    files.dataset_rows(f"{33:064d}").unlink()
    made = counted(items, surveys.NEAR)
    assert made.state == "failed"
    assert made.error is not None
    assert "FileNotFoundError" in made.error
    assert "surveys.log" in made.error


def test_what_failed_or_was_stopped_is_counted_when_it_is_asked_for_again(items: int) -> None:
    counted(items, surveys.lengths_on("llama-2-7b"))
    surveys.ask(items, surveys.NEAR)
    surveys.stop(items, surveys.NEAR)
    assert state(items, surveys.NEAR) == "stopped"
    surveys.start(items, ["llama-2-7b"])
    assert {each.state for each in surveys.of(items)} == {"waiting"}
    assert {each.error for each in surveys.of(items)} == {None}


def test_what_was_stopped_ends_at_the_next_note_of_progress_and_stays_so(items: int) -> None:
    running(items, surveys.NEAR)
    note = survey.Noted(items, surveys.NEAR, read_rows(files.dataset_rows(f"{33:064d}")))
    note.last -= survey.EVERY
    note(11)
    assert found(items, surveys.NEAR).done == pytest.approx(1 / 3)
    surveys.stop(items, surveys.NEAR)
    note(22)  # too soon after the last to be written
    note.last -= survey.EVERY
    with pytest.raises(survey.Stopped):
        note(33)
    survey.main(items, surveys.NEAR)
    assert state(items, surveys.NEAR) == "stopped"


def test_rows_are_the_same_after_their_memory_was_given_back(items: int) -> None:
    rows = read_rows(files.dataset_rows(f"{33:064d}"))
    before = list(rows)
    rows.release()
    assert list(rows) == before == rows_of(COPIES)


def test_what_is_done_cannot_be_stopped(items: int) -> None:
    counted(items, surveys.NEAR)
    surveys.stop(items, surveys.NEAR)
    assert state(items, surveys.NEAR) == "done"


def test_surveys_are_counted_by_processes_of_their_own_one_after_another(items: int) -> None:
    surveys.start(items)
    assert surveyor.count_next()
    assert [each.state for each in surveys.of(items)] == ["done", "waiting"]
    assert surveyor.count_next()
    assert not surveyor.count_next()
    assert [each.state for each in surveys.of(items)] == ["done", "done"]


def test_a_survey_goes_with_the_studio_and_begins_anew_with_the_next(studio: Path) -> None:
    dataset_id = many()
    surveys.ask(dataset_id, surveys.NEAR)
    command = "from app import surveyor; surveyor.count_next()"
    page = subprocess.Popen([sys.executable, "-c", command], env={**os.environ, "STUDIO_DATA": str(studio)})
    wait_for(lambda: found(dataset_id, surveys.NEAR).done > 0)
    below = psutil.Process(page.pid).children(recursive=True)
    assert max(process.nice() for process in below) == survey.LOWEST
    page.send_signal(signal.SIGKILL)
    page.wait()
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in below))
    assert state(dataset_id, surveys.NEAR) == "running"
    surveyor.begin_anew()
    again = found(dataset_id, surveys.NEAR)
    assert (again.state, again.done) == ("waiting", 0.0)


def test_a_page_that_starts_counts_what_another_left_and_what_is_asked_for_later(studio: Path, items: int) -> None:
    running(items, surveys.OVERLAP)
    command = "import time; from app import surveyor; surveyor.attend(); time.sleep(60)"
    page = subprocess.Popen([sys.executable, "-c", command], env={**os.environ, "STUDIO_DATA": str(studio)})
    try:
        wait_for(lambda: state(items, surveys.OVERLAP) == "done")
        surveys.ask(items, surveys.NEAR)
        wait_for(lambda: state(items, surveys.NEAR) == "done")
    finally:
        page.kill()
        page.wait()


def test_a_process_that_dies_leaves_its_survey_failed(studio: Path) -> None:
    dataset_id = many()
    surveys.ask(dataset_id, surveys.NEAR)
    counting = threading.Thread(target=surveyor.count_next, daemon=True)
    counting.start()
    wait_for(lambda: found(dataset_id, surveys.NEAR).done > 0)
    (process,) = (
        each
        for each in psutil.Process().children(recursive=True)
        if "app.survey" in each.cmdline() and "app.tether" not in each.cmdline()
    )
    process.kill()
    counting.join(GONE_AFTER)
    made = found(dataset_id, surveys.NEAR)
    assert made.state == "failed"
    assert made.error is not None
    assert "ended with 137" in made.error


def test_a_process_that_cannot_be_started_leaves_its_survey_failed(items: int) -> None:
    surveys.ask(items, surveys.NEAR)
    files.survey_log().mkdir()
    assert surveyor.count_next()
    made = found(items, surveys.NEAR)
    assert made.state == "failed"
    assert made.error is not None
    assert "could not be started" in made.error
