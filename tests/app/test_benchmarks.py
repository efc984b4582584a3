import gzip
import hashlib
import json
from pathlib import Path

import pytest

from app.benchmarks import main
from app.services import benchmarks
from app.services.benchmarks import Source, forget, import_benchmark, imported
from db import files
from prolora.benchmarks import BenchmarkError
from prolora.benchmarks.layouts import LARGEST

LONG = "a baker sells nine loaves in the morning and twice as many after the bells have rung at noon"
SUMS = [{"question": f"{LONG} {i}", "answer": f"#### {i}"} for i in range(3)]
PROBLEM = {
    "task_id": "X/0",
    "prompt": f'def f():\n    """{LONG}"""\n',
    "canonical_solution": "    return 1\n",
    "test": "",
}
MMLU = f'"{LONG}, or not?",yes,no,"both, and",neither,B\nWhy?,a,b,c,d,A\n'


@pytest.fixture
def folder(studio: Path, tmp_path: Path) -> Path:
    made = tmp_path / "theirs"
    made.mkdir()
    return made


def lines(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def test_json_lines_of_questions_and_answers_are_imported_and_only_hashes_kept(folder: Path) -> None:
    path = lines(folder / "test.jsonl", [*SUMS, {"question": "Why?", "answer": "So."}])
    made = import_benchmark("sums", [path])
    assert (made.name, made.layout, made.items, made.short) == ("sums", "GSM8K", 4, 1)
    assert [(source.name, source.items) for source in made.sources] == [("test.jsonl", 4)]
    assert imported() == [made]
    kept = b"".join(each.read_bytes() for each in files.benchmark_dir("sums").iterdir())
    assert b"baker" not in kept
    assert len(benchmarks.fingerprints("sums").hashes)


def test_a_file_in_gzip_is_hashed_as_it_lies(folder: Path) -> None:
    path = folder / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(PROBLEM).encode(), mtime=0))
    made = import_benchmark("code", [path])
    assert (made.layout, made.items) == ("HumanEval", 1)
    assert made.sources[0].sha256 == sha256_of(path)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_of_tables_is_one_benchmark_with_or_without_a_line_of_names(folder: Path) -> None:
    (folder / "law_test.csv").write_text(MMLU)
    (folder / "art_test.csv").write_text("question,choice0,choice1,choice2,choice3,answer\n" + MMLU)
    (folder / "README.md").write_text("nothing of this")
    made = import_benchmark("exams", [folder])
    assert (made.layout, made.items) == ("MMLU", 4)
    assert [(source.name, source.items) for source in made.sources] == [("art_test.csv", 2), ("law_test.csv", 2)]


def test_examples_of_json_are_imported(folder: Path) -> None:
    (folder / "snarks.json").write_text(json.dumps({"canary": "x", "examples": [{"input": LONG, "target": "(A)"}]}))
    made = import_benchmark("hard", [folder / "snarks.json"])
    assert (made.layout, made.items, made.short) == ("BBH", 1, 0)


def test_the_same_files_again_are_the_same_benchmark_and_others_are_refused(folder: Path) -> None:
    path = lines(folder / "test.jsonl", SUMS)
    made = import_benchmark("sums", [path])
    assert import_benchmark("sums", [path]) == made
    with pytest.raises(BenchmarkError, match="Forget it first"):
        import_benchmark("sums", [lines(folder / "test.jsonl", SUMS[:2])])


def test_what_is_forgotten_can_be_imported_from_other_files(folder: Path) -> None:
    import_benchmark("sums", [lines(folder / "test.jsonl", SUMS)])
    forget("sums")
    assert imported() == []
    assert import_benchmark("sums", [lines(folder / "test.jsonl", SUMS[:1])]).items == 1


def test_hashes_that_another_version_wrote_are_made_anew(folder: Path) -> None:
    path = lines(folder / "test.jsonl", SUMS)
    import_benchmark("sums", [path])
    (files.benchmark_dir("sums") / benchmarks.FINGERPRINTS).write_bytes(b"of another time")
    import_benchmark("sums", [path])
    assert benchmarks.fingerprints("sums").total == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", b"<!DOCTYPE html>\n<html>", "known layout"),
        ("x.csv", b"a,b\n1,2\n", "known layout"),
        ("x.jsonl", b"", "known layout"),
        ("x.jsonl", b'{"text": "a"}\n', "known layout"),
        ("x.json", b'{"data": []}', "known layout"),
        ("x.json", b"[" * 100_000, "known layout"),
        ("x.jsonl", b'{"question": "a", "answer": "b"}\n{"question": "a", "ans', "item 2.*“question” is missing"),
        ("x.jsonl", b'{"question": "a", "answer": 7}\n', "item 1.*“answer” is missing or no text"),
        ("x.csv", b"a,b,c,d,e,A\na,b\n", "item 2"),
        ("x.jsonl", b"\xff\xfe{", "cannot be read"),
        ("x.jsonl.gz", gzip.compress(b'{"question": "a"}')[:-9], "cannot be read"),
        ("x.jsonl.gz", gzip.compress(b"a" * (LARGEST + 1)), "more than 32 MiB"),
    ],
)
def test_a_file_that_holds_no_items_is_refused_and_leaves_nothing(
    folder: Path, name: str, content: bytes, words: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BenchmarkError, match=words):
        import_benchmark("mine", [folder / name])
    assert list(files.benchmark_root().iterdir()) == []


def test_files_of_two_benchmarks_are_not_one(folder: Path) -> None:
    lines(folder / "a.jsonl", SUMS)
    (folder / "b.csv").write_text(MMLU)
    with pytest.raises(BenchmarkError, match="several benchmarks: GSM8K, MMLU"):
        import_benchmark("mixed", [folder])


def test_an_empty_folder_and_a_missing_file_are_said_to_be(folder: Path) -> None:
    with pytest.raises(BenchmarkError, match="no file of test items"):
        import_benchmark("none", [folder])
    with pytest.raises(BenchmarkError, match="cannot be read"):
        import_benchmark("none", [folder / "absent.jsonl"])


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BenchmarkError, match="cannot name a file"):
        import_benchmark(name, [lines(folder / "test.jsonl", SUMS)])


def test_what_was_never_imported_cannot_be_forgotten(folder: Path) -> None:
    with pytest.raises(BenchmarkError, match="“sums”"):
        forget("sums")


def test_a_source_is_a_file_its_hash_and_its_items(folder: Path) -> None:
    path = lines(folder / "test.jsonl", SUMS)
    assert import_benchmark("sums", [path]).sources == (Source("test.jsonl", sha256_of(path), 3),)


def test_the_command_imports_lists_and_forgets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(folder / "test.jsonl", [*SUMS, {"question": "Why?", "answer": "So."}])
    words = "sums (GSM8K): 4 test items, 1 of them too short to be found\n"
    for arguments, said in (
        (["import", "sums", str(path)], words),
        (["list"], words),
        (["forget", "sums"], "sums is forgotten.\n"),
        (["list"], ""),
    ):
        assert main(arguments) == 0
        assert capsys.readouterr().out == said


def test_the_command_says_what_is_wrong_and_ends_with_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forget", "sums"]) == 1
    assert "“sums”" in capsys.readouterr().err
