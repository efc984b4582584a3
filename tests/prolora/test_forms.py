"""Every form a row can have, read straight: no file, no repair."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolora.chat import render
from prolora.dataset import Row
from prolora.dataset.forms import KNOWN, REPAIRS, BadRow, Mapping, Reading, conversation, guess, named

MESSAGES = Mapping("messages", {"messages": "messages"})
SHAREGPT = Mapping("sharegpt", {"conversations": "conversations", "system": "system"})
PROMPT = Mapping("prompt-completion", {"prompt": "prompt", "completion": "completion"})
ALPACA = Mapping("alpaca", {"instruction": "instruction", "output": "output", "system": "system", "history": "history"})
TEXT = Mapping("text", {"text": "text"})
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
UNTRAINED = {**ANSWER, "weight": 0}


def messages(*turns: object) -> list[Any]:
    return list(conversation({"messages": list(turns)}, MESSAGES).messages)


def refused(row: dict[str, Any], mapping: Mapping) -> BadRow:
    with pytest.raises(BadRow) as caught:
        conversation(row, mapping)
    return caught.value


@pytest.mark.parametrize("asked", ["a", [USER]])
@pytest.mark.parametrize("answered", ["b", [ANSWER]])
def test_a_prompt_and_its_completion_are_texts_or_turns(asked: object, answered: object) -> None:
    reading = conversation({"prompt": asked, "completion": answered}, PROMPT)
    assert reading == Reading((USER, ANSWER))


def test_answers_in_a_prompt_are_not_trained() -> None:
    prompt = [{"role": "system", "content": "s"}, USER, {"from": "gpt", "value": "b"}, USER]
    reading = conversation({"prompt": prompt, "completion": [ANSWER]}, PROMPT)
    assert reading.messages == ({"role": "system", "content": "s"}, USER, UNTRAINED, USER, ANSWER)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"prompt": [], "completion": "b"}, "not-text"),
        ({"completion": [ANSWER]}, "no-prompt"),
        ({"prompt": [USER], "completion": " "}, "no-answer"),
        ({"prompt": [USER], "completion": {"role": "assistant"}}, "not-text"),
        ({"prompt": [USER, ANSWER], "completion": [ANSWER]}, "roles-order"),
        ({"prompt": [{**USER, "weight": 3}], "completion": "b"}, "weight"),
        ({"prompt": [USER], "completion": [UNTRAINED]}, "nothing-trained"),
    ],
)
def test_a_prompt_or_completion_that_is_neither_is_refused(row: dict, code: str) -> None:
    assert refused(row, PROMPT).code == code


def test_text_in_a_prompt_that_looks_like_json_stays_text() -> None:
    words = json.dumps([USER])
    assert conversation({"prompt": words, "completion": "[]"}, PROMPT).messages[0]["content"] == words


@pytest.mark.parametrize("turns", [[USER, ANSWER], [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]])
def test_a_bare_list_of_turns_is_a_row(turns: list) -> None:
    row = named(turns)
    assert row == {"turns": turns}
    mapping = guess(dict.fromkeys(row, 1))
    assert mapping == Mapping("messages", {"messages": "turns"})
    assert conversation(row, mapping).messages == (USER, ANSWER)


def test_a_bare_text_is_a_row_and_a_number_is_none() -> None:
    row = named("Once.")
    assert row == {"text": "Once."}
    assert guess(dict.fromkeys(row, 1)) == TEXT
    assert (named(7), named(None), named(True)) == (None, None, None)


@pytest.mark.parametrize("weight", [1, 1.0, None])
def test_a_weight_of_1_or_none_leaves_a_turn_as_it_is(weight: object) -> None:
    assert messages({**USER, "weight": weight}, {**ANSWER, "weight": weight}) == [USER, ANSWER]


def test_a_weight_of_0_is_kept() -> None:
    assert messages(USER, {**ANSWER, "weight": 0}, USER, ANSWER) == [USER, UNTRAINED, USER, ANSWER]


@pytest.mark.parametrize("weight", [2, -1, 0.5, True, "1", [], float("nan")])
def test_any_other_weight_is_refused(weight: object) -> None:
    error = refused({"messages": [USER, {**ANSWER, "weight": weight}]}, MESSAGES)
    assert (error.code, error.field) == ("weight", "messages")


def test_only_answers_can_weigh_nothing() -> None:
    assert refused({"messages": [{**USER, "weight": 0}, ANSWER]}, MESSAGES).code == "weight"


def test_a_row_of_which_nothing_is_trained_is_refused() -> None:
    error = refused({"messages": [USER, UNTRAINED, USER, UNTRAINED]}, MESSAGES)
    assert (error.code, "weight 1" in str(error)) == ("nothing-trained", True)


def test_names_of_speakers_are_not_kept() -> None:
    assert messages({**USER, "name": "Ada"}, {**ANSWER, "name": "Bot"}) == [USER, ANSWER]


def test_parts_of_text_are_one_text_and_a_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    system = {"role": "developer", "content": parts}
    assert messages(system, USER, ANSWER)[0] == {"role": "system", "content": "one two"}


@pytest.mark.parametrize(
    "parts", [[], ["a"], [{"type": "image_url"}], [{"type": "text"}], [{"type": "text", "text": 1}]]
)
def test_parts_that_are_no_text_are_refused(parts: list) -> None:
    assert refused({"messages": [{"role": "user", "content": parts}, ANSWER]}, MESSAGES).code == "not-text"


@pytest.mark.parametrize("role", ["tool", "function", "observation", "Tool", "function_call"])
@pytest.mark.parametrize(("who", "what"), [("role", "content"), ("from", "value")])
def test_a_turn_by_a_tool_is_refused_by_its_own_code(role: str, who: str, what: str) -> None:
    error = refused({"messages": [USER, {who: role, what: "b"}, ANSWER]}, MESSAGES)
    assert (error.code, error.repair) == ("tool-turn", "")


@pytest.mark.parametrize("call", [{"tool_calls": [{"id": "1"}]}, {"function_call": {"name": "f"}}])
def test_a_call_of_a_tool_is_refused_by_its_own_code(call: dict) -> None:
    assert refused({"messages": [USER, {"role": "assistant", "content": None, **call}]}, MESSAGES).code == "tool-call"


@pytest.mark.parametrize("user", ["human", "user"])
@pytest.mark.parametrize("assistant", ["gpt", "chatgpt", "bing", "bard", "model", "assistant"])
@pytest.mark.parametrize(("who", "what"), [("from", "value"), ("role", "content"), ("role", "value")])
def test_sharegpt_is_read_in_all_its_spellings(user: str, assistant: str, who: str, what: str) -> None:
    turns = [{who: user, what: "a"}, {who: assistant, what: "b"}]
    for column in ("conversations", "conversation", "items"):
        mapping = guess({"id": 1, column: 1})
        assert mapping is not None
        assert mapping.form == "sharegpt"
        assert conversation({column: turns}, mapping).messages == (USER, ANSWER)


def test_pairs_of_human_and_assistant_are_two_turns_each() -> None:
    pair = {"human": "a", "assistant": "b"}
    assert conversation({"conversations": [pair, pair]}, SHAREGPT).messages == (USER, ANSWER, USER, ANSWER)
    assert refused({"conversations": [pair, {"human": "a"}]}, SHAREGPT).code == "empty-turn"


def test_a_table_of_two_spellings_has_nulls_in_one_of_them() -> None:
    asked = {"role": None, "content": None, "from": "human", "value": "a"}
    assert messages(asked, {**ANSWER, "from": None, "value": None}) == [USER, ANSWER]


@pytest.mark.parametrize("content", ["Once.", " \tOnce\n\nupon a time \n", "007", "null", "[1]"])
def test_plain_text_is_kept_as_it_is(content: str) -> None:
    assert conversation({"text": content}, TEXT).messages == ({"role": "text", "content": content},)


@pytest.mark.parametrize(("value", "code"), [("", "no-text"), (" \n", "no-text"), (None, "no-text"), (7, "not-text")])
def test_a_row_without_text_is_refused(value: object, code: str) -> None:
    assert refused({"text": value}, TEXT).code == code


def test_plain_text_lies_where_the_whole_of_it_lies_in_the_split() -> None:
    once, spaced, other = (
        Row(conversation({"text": text}, TEXT).messages, 1) for text in ("Once upon.", "once  upon.\n", "Once again.")
    )
    assert once.prompt == "Once upon."
    assert once.lot == spaced.lot != other.lot


@pytest.mark.parametrize("vague", ["text", "content", "turns", "items"])
def test_a_vague_name_decides_nothing_beside_a_question_and_its_answer(vague: str) -> None:
    pairs = {"instruction": 9, "output": 8}
    assert guess({**pairs, vague: 10}) == guess(pairs)


def test_text_is_what_a_file_is_only_when_it_is_little_else() -> None:
    pairs = {"instruction": 9, "output": 8}
    assert guess({**pairs, "text": 1000}) == TEXT
    assert guess({"title": 5, "content": 5}) == Mapping("text", {"text": "content"})


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[{"role": "user", "role": "assistant", "content": "a"}]', "repeated-field"),
        ('[{"role": "user", "content": "a", "x": NaN}]', "not-a-number"),
        ("[" * 100_000, "not-json"),
        ('[{"role": "user", "content": "a"}] [', "not-json"),
        ("[{'role': 'user'}]", "not-a-list"),
        ('{"role": "user"}', "not-a-list"),
    ],
)
def test_json_text_in_a_cell_must_be_as_sound_as_a_file(text: str, code: str) -> None:
    error = refused({"messages": text}, MESSAGES)
    assert (error.code, error.field) == (code, "messages")


def test_sound_json_text_in_a_cell_is_read() -> None:
    assert conversation({"messages": f" {json.dumps([USER, ANSWER])}\n"}, MESSAGES).messages == (USER, ANSWER)
    history = {"instruction": "a", "output": "b", "history": '[["007", "1.10"]]'}
    assert [message["content"] for message in conversation(history, ALPACA).messages] == ["007", "1.10", "a", "b"]
    repeated = refused({"instruction": "a", "output": "b", "history": '[{"a": 1, "a": 2}]'}, ALPACA)
    assert (repeated.code, repeated.field) == ("repeated-field", "history")


names = st.sampled_from(
    ["role", "from", "content", "value", "weight", "human", "assistant", "type", "text", "tool_calls"]
)
words = st.sampled_from(["user", "assistant", "User", "tool", "gpt", "text", "", "[[", "[1]", "\ud83d", "a"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4))


def outcome(row: dict[str, Any], mapping: Mapping, repairs: frozenset[str]) -> Reading | BadRow:
    try:
        return conversation(row, mapping, repairs)
    except BadRow as error:
        return error


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_a_field_holds_the_row_is_read_or_refused(data: st.DataObject) -> None:
    form: Any = data.draw(st.sampled_from(list(KNOWN)))
    mapping = Mapping(form, {part: part for part in KNOWN[form]})
    row = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(KNOWN[form], values)))
    repairs = frozenset(data.draw(st.sets(st.sampled_from(sorted(REPAIRS)))))
    found = outcome(row, mapping, repairs)
    if isinstance(found, BadRow):
        assert found.code
        assert found.repair not in repairs
    else:
        assert all(message["content"].strip() for message in found.messages)
        assert render(found.messages).spans
