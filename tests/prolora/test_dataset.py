import csv
import gzip
import hashlib
import io
import json
import random
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from prolora.dataset import Choices, Folder, Mapping, Report, Row, held_out, read, read_rows, split, store, write_rows
from prolora.dataset.element import ROW_LIMIT
from prolora.dataset.encodings import ENCODINGS
from prolora.errors import DatasetError

SAMPLE = Path(__file__).parents[2] / "static" / "samples" / "tickets.jsonl"
PAIR = {"instruction": "Say hi.", "output": "Hi."}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


def alpaca(instruction: str, input: str, output: str) -> dict[str, str]:  # noqa: A002
    return {"instruction": instruction, "input": input, "output": output, "system": "", "history": ""}


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def conversation(*turns: tuple[object, object]) -> dict:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def row(question: str, answer: str = "Yes.", line: int = 1) -> Row:
    return Row(({"role": "user", "content": question}, {"role": "assistant", "content": answer}), line)


def look(path: Path) -> Report:
    """What is said of a file whose fields nobody may know."""
    with TemporaryDirectory() as folder:
        return store(path, Folder(Path(folder)), Choices())


def test_the_sample_goes_in_whole() -> None:
    whole = read(SAMPLE)
    assert (whole.report.read, len(whole.rejects), whole.report.form) == (480, 0, "alpaca")
    train, held = split(whole.rows)
    assert len(train) + len(held) == 480
    assert 30 <= len(held) <= 70


def test_a_json_list_keeps_the_line_where_each_row_starts(path: Path) -> None:
    path.write_text(
        '\n[\n  {"instruction": "a",\n   "output": "b"}, {"instruction": "c", "output": "d"}\n,\n{\n"x": 1}\n]\n'
    )
    report = read(path)
    assert [row.line for row in report.rows] == [3, 4]
    assert [(bad.line, bad.code) for bad in report.rejects] == [(6, "no-instruction")]
    assert report.rejects[0].raw == '{\n"x": 1}'


def test_jsonl_skips_blank_lines_but_counts_them(path: Path) -> None:
    path.write_bytes(
        b'\xef\xbb\xbf{"instruction": "a", "output": "b\xe2\x80\xa8c"}\r\n\r\n  \n{"instruction": "d", "output": "e"}'
    )
    report = read(path)
    assert [row.line for row in report.rows] == [1, 4]
    assert report.rows[0].messages[1]["content"] == "b\u2028c"


def test_one_object_over_several_lines_is_one_row(path: Path) -> None:
    path.write_text(json.dumps(conversation(("user", "a"), ("assistant", "b")), indent=2).replace('",\n', '", '))
    assert (look(path).container, read(path).rows[0].messages[1]) == ("JSON", {"role": "assistant", "content": "b"})


def test_the_alpaca_input_stands_under_the_instruction(path: Path) -> None:
    with_input, without, null = {**PAIR, "input": "Loudly."}, {**PAIR, "input": ""}, {**PAIR, "input": None}
    texts = [row.messages[0]["content"] for row in read(jsonl(path, with_input, without, null, PAIR)).rows]
    assert texts == ["Say hi.\nLoudly.", "Say hi.", "Say hi.", "Say hi."]


@pytest.mark.parametrize(
    ("columns", "form", "fields"),
    [
        ("instruction input output", "alpaca", alpaca("instruction", "input", "output")),
        ("instruction input response output", "alpaca", alpaca("instruction", "input", "output")),
        ("question answer", "alpaca", alpaca("question", "", "answer")),
        ("Instruction Response", "alpaca", alpaca("Instruction", "", "Response")),
        ("prompt completion", "prompt-completion", {"prompt": "prompt", "completion": "completion"}),
        ("id messages", "messages", {"messages": "messages"}),
        ("id conversations", "sharegpt", {"conversations": "conversations", "system": ""}),
    ],
)
def test_known_field_names_are_guessed(path: Path, columns: str, form: str, fields: dict[str, str]) -> None:
    found = look(jsonl(path, dict.fromkeys(columns.split(), "text")))
    assert found.mapping == Mapping(form, fields)
    assert found.columns == dict.fromkeys(columns.split(), 1)


def test_columns_are_counted_over_the_whole_file(path: Path) -> None:
    found = look(jsonl(path, *[PAIR] * 7, {**PAIR, "late": "x"}))
    assert found.columns == {"instruction": 8, "output": 8, "late": 1}
    assert (found.read, len(found.first)) == (8, 3)


def test_other_names_are_mapped_by_hand(path: Path) -> None:
    jsonl(path, {"frage": "Was?", "antwort": "Das."})
    assert look(path).mapping is None
    with pytest.raises(DatasetError, match="which field is the question"):
        read(path)
    report = read(path, Choices(Mapping("alpaca", {"instruction": "frage", "output": "antwort"})))
    assert report.rows[0].messages[0]["content"] == "Was?"


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("no-such-form", {}),
        ("alpaca", {"instruction": "a"}),
        ("alpaca", {"instruction": "a", "output": "a"}),
        ("alpaca", {"instruction": "a", "output": "b", "nonsense": "c"}),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(form: str, fields: dict[str, str]) -> None:
    with pytest.raises(DatasetError):
        Mapping(form, fields)


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ('{"instruction": "a"}', "no-answer", "Line 2 has no answer. Add an output or leave the row out."),
        (
            '{"instruction": "a", "output": ""}',
            "no-answer",
            "Line 2 has no answer. Add an output or leave the row out.",
        ),
        ('{"instruction": "a", "output": " \\n"}', "no-answer", "no answer"),
        ('{"instruction": "a", "output": null}', "no-answer", "no answer"),
        ('{"output": "b"}', "no-instruction", "has no instruction. Add an instruction"),
        ('{"instruction": "a", "output": 4}', "not-text", "has a number as its output. Write it as text"),
        ('{"instruction": ["a"], "output": "b"}', "not-text", "a list as its instruction"),
        ('{"instruction": "a", "input": {}, "output": "b"}', "not-text", "an object as its input"),
        ('{"instruction": "a", "output": true}', "not-text", "true or false"),
        ('{"instruction": "a", "output": NaN}', "not-a-number", "holds NaN, which is not JSON"),
        ('{"instruction": "a", "output": "b", "x": [-Infinity]}', "not-a-number", "holds -Infinity"),
        ('{"instruction": "a", "output": "b", "output": "c"}', "repeated-field", "names the field “output” twice"),
        ('{"instruction": "a", "output": "b \\ud83d"}', "broken-character", "holds a broken character"),
        ('{"instruction": "a", "output": "b"', "not-json", "is not valid JSON"),
        ('{"instruction": "a", "output": "b"},', "not-json", "goes on after its object ends at column 36"),
        ("not json at all", "not-json", "at column 1"),
        ("[" * 100_000, "not-json", "nested too deeply"),
        ('["a", "b"]', "not-an-object", "is not an object"),
        ("null", "not-an-object", "is not an object"),
        ("17", "not-an-object", "is not an object"),
    ],
)
def test_a_bad_line_is_listed_with_its_reason_and_harms_no_other(
    path: Path, line: str, code: str, sentence: str
) -> None:
    good = json.dumps(PAIR)
    path.write_text(f"{good}\n{line}\n{good}\n")
    report = read(path)
    assert [row.line for row in report.rows] == [1, 3]
    assert [(bad.line, bad.code) for bad in report.rejects] == [(2, code)]
    assert sentence in report.rejects[0].reason
    assert report.rejects[0].reason.endswith(" or leave the row out.")
    assert line.startswith(report.rejects[0].raw)


@pytest.mark.parametrize(
    ("turns", "code", "sentence"),
    [
        ([], "no-messages", "has no turns. Add a messages list"),
        ("hello", "not-a-list", "has text as its messages"),
        (["hello"], "not-an-object", "has text as turn 1"),
        ([("user", "a"), ("asistant", "b")], "unknown-role", "has a turn 2 whose role is “asistant”. Write assistant"),
        ([("user", "a"), ("robot", "b")], "unknown-role", "“robot”. Use system, user or assistant"),
        ([("user", "a"), ("tool", "b")], "tool-turn", "has a turn 2 by a tool (“tool”)"),
        ([("user", "a"), (None, "b")], "unknown-role", "whose role is nothing"),
        ([("user", "a"), ("assistant", "")], "empty-turn", "nothing to say in turn 2 (assistant)"),
        ([("user", "a"), ("assistant", ["b"])], "not-text", "a list as the content of turn 2"),
        ([("user", "a")], "no-answer", "has no assistant turn"),
        ([("system", "a")], "no-answer", "has no assistant turn"),
        ([("assistant", "a")], "starts-with-assistant", "Begin with a user turn"),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "ends-with-user", "nobody answers"),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "roles-order", "two user turns in a row (turn 2)"),
        ([("system", "s"), ("user", "a"), ("user", "b"), ("assistant", "c")], "roles-order", "(turn 3)"),
        ([("user", "a"), ("system", "s"), ("assistant", "b")], "system-not-first", "Move it to the beginning"),
    ],
)
def test_bad_conversations_are_rejected(path: Path, turns: object, code: str, sentence: str) -> None:
    named = isinstance(turns, list) and turns and isinstance(turns[0], tuple)
    jsonl(path, conversation(*turns) if named else {"messages": turns}, conversation(("user", "a"), ("assistant", "b")))
    report = read(path)
    assert [bad.code for bad in report.rejects] == [code]
    assert sentence in report.rejects[0].reason
    assert report.report.read == 2


@pytest.mark.parametrize(("extra", "code"), [({"tool_calls": [{}]}, "tool-call"), ({"weight": 2}, "weight")])
def test_what_a_turn_cannot_have_is_not_dropped_in_silence(path: Path, extra: dict, code: str) -> None:
    bad = conversation(("user", "a"), ("assistant", "b"))
    bad["messages"][1].update(extra)
    assert [each.code for each in read(jsonl(path, bad)).rejects] == [code]


def test_good_conversations_are_kept_as_they_are(path: Path) -> None:
    turns = [("system", "Be kind."), ("user", " a "), ("assistant", "b\n"), ("user", "c"), ("assistant", "0")]
    kept = read(jsonl(path, conversation(*turns))).rows[0]
    assert [(message["role"], message["content"]) for message in kept.messages] == turns


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n\t", "is empty"),
        (b"[]", "empty list"),
        (b" [ \n ] ", "empty list"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"PAR1rest", "Parquet"),
        (b"\x1f\x8b\x08rest", "gzip"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"\x00\x01\x02", "binary"),
        ('[{"a": "b"}]'.encode("utf-32"), "UTF-32"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"<html></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"instruction\na\n", "starts with “instruction”"),
        (b"instruction,output\n", "empty list or table"),
        (b'{"train": [{"a": "b"}], "test": [{"a": "c"}]}', "two lists of rows, “train” and “test”"),
        (b'"just text"', "neither JSON, JSONL nor a table"),
        (b'[{"a": "b"},]', "comma before the closing bracket: file.json, line 1, column 13"),
        (b'[{"a": "b"},\n{"a": ', "line 2, column 7"),
        (b'[{"a": "b"}', "breaks off: file.json, line 1, column 12"),
        (b'[{"a": "b"},', "breaks off"),
        (b'[{"a": "b"} {"a": "c"}]', "instead of a comma"),
        (b'[{"a": "b"}]\n[]', "more text after the list ends: file.json, line 2, column 1"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":\n', "line 2, column 1"),
        (b'{\n"a": "b"\n}\n{\n"a": "c"\n}', "more text after the object ends"),
        (b"[1, 2, 3]", "not objects with named fields"),
    ],
)
def test_a_file_that_is_no_dataset_gets_a_sentence(path: Path, content: bytes, sentence: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DatasetError) as refused:
        read(path)
    assert sentence in str(refused.value)
    with pytest.raises(DatasetError):
        look(path)


def test_a_folder_or_a_missing_file_gets_a_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(DatasetError, match="cannot be read"):
            read(path)


def test_a_jsonl_file_whose_first_line_is_broken_loses_only_that_line(path: Path) -> None:
    path.write_text('{"instruction": "a", \n' + json.dumps(PAIR) + "\n")
    report = read(path)
    assert (len(report.rows), report.rejects[0].code) == (1, "not-json")


def test_bytes_that_are_not_utf_8_reject_their_row_and_can_still_be_shown(path: Path) -> None:
    path.write_bytes(
        b'{"instruction": "caf\xe9", "output": "b", "\xff": 1}\n'
        + json.dumps({**PAIR, "x": "éééé"}, ensure_ascii=False).encode()
    )
    report, first_look = read(path), look(path)
    assert [bad.code for bad in report.rejects] == ["broken-character"]
    assert json.dumps([report.rejects[0].raw, report.rejects[0].reason], ensure_ascii=False).encode()
    assert json.dumps([first_look.columns, first_look.first], ensure_ascii=False).encode()


def test_a_number_too_long_for_python_is_only_a_number(path: Path) -> None:
    path.write_text('[{"instruction": "a", "output": "b", "n": ' + "9" * 6000 + "}]")
    assert len(read(path).rows) == 1


def test_strings_that_look_like_other_things_stay_strings(path: Path) -> None:
    rows = [{"instruction": text, "output": text} for text in ("007", "null", "NaN", "true", "1e5", "2024-01-01")]
    assert [row.messages[1]["content"] for row in read(jsonl(path, *rows)).rows] == [each["output"] for each in rows]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
any_row = anything | st.dictionaries(
    st.sampled_from(["instruction", "input", "output", "messages"]), anything, max_size=4
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(any_row, max_size=6), listed=st.booleans())
def test_every_row_is_kept_or_rejected_in_either_container(path: Path, rows: list, listed: bool) -> None:
    rows = [PAIR, *rows]
    path.write_text(json.dumps(rows) if listed else "\n".join(map(json.dumps, rows)))
    report = read(
        path,
        Choices(Mapping("alpaca", alpaca("instruction", "input", "output"))),
    ).report
    assert (report.read, report.kept + report.rejected) == (len(rows), len(rows))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(alphabet='[]{}",: \nab1\\', max_size=40).map(str.encode))
def test_no_content_breaks_the_reader(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        report = read(path)
    except DatasetError:
        return
    assert len(report.rows) + len(report.rejects) == look(path).read


def test_rows_survive_their_file(tmp_path: Path) -> None:
    rows = [row("a\u2028b\r\n"), row("世界 👋", line=7)]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows


def test_the_hash_is_of_what_is_said_and_not_of_where(path: Path) -> None:
    assert row("a", line=1).digest == row("a", line=2).digest != row("a", "No.").digest
    first = read(jsonl(path, PAIR)).report.content_hash
    path.write_text("\n\n" + json.dumps([{"prompt": "Say hi.", "completion": "Hi."}], indent=4))
    assert read(path).report.content_hash == first
    assert read(jsonl(path, PAIR, PAIR)).report.content_hash != first


def test_rows_with_one_prompt_never_straddle_the_split() -> None:
    rows = [row(f"Question {number % 150}?", f"Answer {number}.") for number in range(600)]
    rows += [row(f"question  {number}? ") for number in range(150)]
    train, held = split(rows)
    prompts = [{" ".join(each.prompt.split()).casefold() for each in side} for side in (train, held)]
    assert not prompts[0] & prompts[1]
    assert 0.03 < len(held) / len(rows) < 0.2


def test_the_split_does_not_depend_on_the_other_rows() -> None:
    rows = [row(f"Question {number}?") for number in range(500)]
    random.Random(1).shuffle(rows)
    held = split(rows)[1]
    assert held == [each for each in rows if held_out(each)]
    assert [each for each in held if each in rows[:250]] == split(rows[:250])[1]


def test_conversations_that_open_alike_lie_on_one_side() -> None:
    short, long = row("Hi?"), Row((*row("Hi?").messages, *row("And?").messages), 2)
    assert held_out(short) == held_out(long)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_a_tiny_dataset_has_rows_on_both_sides(size: int) -> None:
    for start in range(30):
        train, held = split([row(f"Question {start + number}?") for number in range(size)])
        assert train
        assert held


def test_one_row_or_none_is_trained_on() -> None:
    assert split([]) == ([], [])
    assert split([row("a"), row("a")]) == ([row("a"), row("a")], [])


def texts(path: Path) -> list[list[tuple[str, str]]]:
    return [[(message["role"], message["content"]) for message in each.messages] for each in read(path).rows]


def test_sharegpt_is_read_in_its_spellings(path: Path) -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    mixed = [{"role": "user", "content": "c"}, {"from": "chatgpt", "value": "d"}]
    jsonl(path, {"conversations": turns, "system": "Be kind."}, {"conversations": mixed})
    assert texts(path) == [
        [("system", "Be kind."), ("user", "a"), ("assistant", "b")],
        [("user", "c"), ("assistant", "d")],
    ]


def test_two_systems_are_not_one_too_many_in_silence(path: Path) -> None:
    turns = [{"from": who, "value": "a"} for who in ("system", "human", "gpt")]
    assert [bad.code for bad in read(jsonl(path, {"conversations": turns, "system": "s"})).rejects] == ["system-twice"]


def test_alpaca_brings_its_system_and_its_history(path: Path) -> None:
    jsonl(path, {**PAIR, "system": "Be kind.", "history": [["a", "b"]]}, {**PAIR, "history": []})
    assert texts(path) == [
        [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "Say hi."), ("assistant", "Hi.")],
        [("user", "Say hi."), ("assistant", "Hi.")],
    ]


@pytest.mark.parametrize("history", [[["a"]], [["a", 1]], {"a": "b"}, "not json", [["", "b"]]])
def test_a_history_that_is_no_pairs_rejects_its_row(path: Path, history: object) -> None:
    report = read(jsonl(path, {**PAIR, "history": history}, PAIR))
    assert [bad.line for bad in report.rejects] == [1]


def test_developer_turns_and_parts_of_text_are_read_as_openai_means_them(path: Path) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    jsonl(path, conversation(("developer", "s"), ("user", parts), ("assistant", "c")))
    assert texts(path) == [[("system", "s"), ("user", "ab"), ("assistant", "c")]]
    picture = [{"type": "image_url", "image_url": "x"}]
    report = read(jsonl(path, conversation(("user", picture), ("assistant", "c"))))
    assert [bad.code for bad in report.rejects] == ["not-text"]


@pytest.mark.parametrize("name", ["data", "rows", "train"])
def test_a_list_inside_an_object_is_the_list_of_rows(path: Path, name: str) -> None:
    path.write_text(json.dumps({"version": "1", name: [PAIR, {"instruction": "x"}], "more": [1, 2]}, indent=1))
    report, seen = read(path), look(path)
    assert (len(report.rows), [bad.line for bad in report.rejects]) == (1, [8])
    assert seen.evidence == (f"A list under “{name}” in one object: JSON. Beside it stood, not used: version, more.",)


@pytest.mark.parametrize(("delimiter", "name"), [(",", "CSV"), (";", "CSV"), ("\t", "TSV"), ("|", "CSV")])
def test_a_table_is_read_by_its_own_delimiter_and_every_cell_is_text(path: Path, delimiter: str, name: str) -> None:
    cells = ["007", "1.10", "true", "null", "NA", "2024-01-01", "1e5", '"quoted" text', "two\nlines"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["instruction", "output"], *((cell, cell) for cell in cells)])
    report = read(path)
    assert [each.messages[1]["content"] for each in report.rows] == cells
    assert [each.line for each in report.rows] == list(range(2, 11))
    assert look(path).container == name


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("only one", "fields-count"),
        ("a,b,c", "fields-count"),
        ('"never closed,b', "not-a-record"),
        ('"a"b,c', "not-a-record"),
        ("a,", "no-answer"),
    ],
)
def test_a_bad_record_of_a_table_harms_no_other(path: Path, line: str, code: str) -> None:
    path.write_text(f"instruction,output\na,b\n{line}\nc,d\ne,f\n")
    report = read(path)
    assert [each.line for each in report.rows] == [2, 4, 5]
    assert [(bad.line, bad.code, bad.raw) for bad in report.rejects] == [(3, code, line)]


def test_a_quote_that_is_never_closed_takes_no_good_record_with_it(path: Path) -> None:
    path.write_text('instruction,output\n"open,b\n"c",d\n')
    report = read(path)
    assert [each.line for each in report.rows] == [3]
    assert [(bad.line, bad.code) for bad in report.rejects] == [(2, "not-a-record")]


def test_a_table_without_a_header_names_its_fields_by_place(path: Path) -> None:
    path.write_text("1,2\n3,4\n")
    report = read(path, Choices(Mapping("prompt-completion", {"prompt": "column 1", "completion": "column 2"})))
    assert [each.line for each in report.rows] == [1, 2]


def test_a_line_too_long_to_be_read_is_left_out_and_the_next_is_not(path: Path) -> None:
    good = json.dumps(PAIR).encode()
    with path.open("wb") as file:
        file.write(good + b"\n" + b'{"instruction": "')
        file.write(b"a" * (ROW_LIMIT + (5 << 20)))
        file.write(b'"}\n' + good + b"\n")
    report = read(path)
    assert [each.line for each in report.rows] == [1, 3]
    assert [(bad.line, bad.code) for bad in report.rejects] == [(2, "too-long")]


def test_a_list_longer_than_one_look_keeps_its_rows_and_their_lines(path: Path) -> None:
    rows = [{"instruction": f"Question {i}?", "output": "é\\ " * 500} for i in range(1500)]
    path.write_text("[" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in rows) + "]", encoding="utf-8")
    report = read(path)
    assert [each.line for each in report.rows] == list(range(1, 1501))
    assert report.rows[-1].messages[1]["content"] == rows[-1]["output"]


texts_of_any_sort = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def in_every_text_container(text: str) -> list[str]:
    row, turns = {"instruction": text, "output": text}, conversation(("user", text), ("assistant", text))
    contents = [json.dumps(each, ensure_ascii=False) for each in (row, [row], {"data": [row]}, turns)]
    for delimiter in ",\t;|":
        table = io.StringIO(newline="")
        csv.writer(table, delimiter=delimiter).writerows([["instruction", "output"], [text, text]])
        contents.append(table.getvalue())
    return [*contents, f"{contents[0]}\n{contents[0]}\n", json.dumps(row)]


def packed(content: bytes, packing: str) -> bytes:
    if packing == "bare":
        return content
    if packing == "gzip":
        return gzip.compress(content)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("file.json", content)
    return archive.getvalue()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=texts_of_any_sort,
    encoding=st.sampled_from([*ENCODINGS, "utf-8-sig", "utf-16"]),
    packing=st.sampled_from(["bare", "gzip", "zip"]),
)
def test_a_text_arrives_unchanged_from_every_container(path: Path, text: str, encoding: str, packing: str) -> None:
    text = text.encode(encoding, errors="ignore").decode(encoding)
    assume(text.strip())
    choices = Choices(encoding=encoding if encoding in ENCODINGS else None)
    for content in in_every_text_container(text):
        path.write_bytes(packed(content.encode(encoding), packing))
        assert [message["content"] for message in read(path, choices).rows[0].messages] == [text, text]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts_of_any_sort.filter(str.strip), packing=st.sampled_from(["bare", "gzip", "zip"]))
def test_a_text_arrives_unchanged_from_parquet(path: Path, text: str, packing: str) -> None:
    column = pa.array([text])
    turns = conversation(("user", text), ("assistant", text))
    for table in (
        *({"instruction": column.cast(kind), "output": column} for kind in (pa.large_string(), pa.binary())),
        {"instruction": column, "output": column.dictionary_encode()},
        {"messages": [turns["messages"]]},
        {"messages": [json.dumps(turns["messages"])]},
    ):
        stored = io.BytesIO()
        parquet.write_table(pa.table(table), stored)
        path.write_bytes(packed(stored.getvalue(), packing))
        assert [message["content"] for message in read(path).rows[0].messages] == [text, text]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts_of_any_sort, encoding=st.sampled_from([*ENCODINGS, "utf-8-sig", "utf-16"]))
def test_a_text_arrives_unchanged_from_plain_text(path: Path, text: str, encoding: str) -> None:
    text = "\n".join(filter(str.strip, text.encode(encoding, errors="ignore").decode(encoding).splitlines()))
    assume(text.strip() and text[0] not in "[{\ufeff")
    path = path.with_suffix(".txt")
    path.write_bytes(f"{text}\n\n{text}".encode(encoding))
    kept = read(path, Choices(encoding=encoding if encoding in ENCODINGS else None)).rows
    assert [[message["content"] for message in row.messages] for row in kept] == [[text], [text]]


def test_lines_that_are_lists_of_turns_are_rows(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = tmp_path / "turns.jsonl"
    path.write_text(json.dumps(turns) + "\n" + json.dumps(turns) + "\n[]\n")
    whole = read(path)
    assert (whole.report.container, len(whole.rows), [bad.line for bad in whole.rejects]) == ("JSONL", 2, [3])
    path.write_text("[" + json.dumps(turns) + ",\n" + json.dumps(turns) + "]\n")
    assert read(path).report.container == "JSON"


@given(st.text(alphabet=" \t\n\r\v\f\x1c\x1f\x85\xa0\u2028aBZ.éßİ", max_size=12))
def test_a_lot_is_drawn_from_the_words_of_a_prompt_whatever_their_case_and_spacing(text: str) -> None:
    words = " ".join(text.split()).casefold()
    assert row(text).lot == int(hashlib.sha256(words.encode()).hexdigest()[:13], 16) / 16**13
