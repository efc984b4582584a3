"""Each repair changes what it says and nothing else, and only where it is asked for."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolora.dataset.forms import REPAIRS, BadRow, Mapping, Reading, conversation
from prolora.dataset.roles import ROLES, SPELLINGS, TYPOS

MESSAGES = Mapping("messages", {"messages": "messages"})
ALL = frozenset(REPAIRS)
SYSTEM, USER = {"role": "system", "content": "s"}, {"role": "user", "content": "a"}
ANSWER, UNTRAINED = {"role": "assistant", "content": "b"}, {"role": "assistant", "content": "b", "weight": 0}


def read(turns: list[Any], *repairs: str) -> Reading:
    return conversation({"messages": turns}, MESSAGES, frozenset(repairs))


def refused(turns: list[Any], *repairs: str) -> tuple[str, str]:
    """The code, and the repair that is named."""
    with pytest.raises(BadRow) as caught:
        read(turns, *repairs)
    return caught.value.code, caught.value.repair


def turn(role: object, content: str = "a") -> dict[str, Any]:
    return {"role": role, "content": content}


RESCUED: list[tuple[str, list[Any], list[Any]]] = [
    ("missing-system-role", [turn(None, "s"), USER, ANSWER], [SYSTEM, USER, ANSWER]),
    ("missing-system-role", [turn(" ", "s"), USER, ANSWER], [SYSTEM, USER, ANSWER]),
    ("missing-system-role", [{"value": "s"}, {"from": "human", "value": "a"}, ANSWER], [SYSTEM, USER, ANSWER]),
    ("role-typos", [USER, turn("assitant", "b")], [USER, ANSWER]),
    ("role-typos", [turn("User"), turn("Assistant ", "b")], [USER, ANSWER]),
    ("role-typos", [{"from": "humman", "value": "a"}, {"from": "GPT", "value": "b"}], [USER, ANSWER]),
    ("role-typos", [turn("Developer", "s"), USER, ANSWER], [SYSTEM, USER, ANSWER]),
    ("joined-turns", [USER, USER, ANSWER], [turn("user", "a\n\na"), ANSWER]),
    ("joined-turns", [SYSTEM, SYSTEM, USER, ANSWER], [turn("system", "s\n\ns"), USER, ANSWER]),
    ("joined-turns", [USER, ANSWER, ANSWER, ANSWER], [USER, turn("assistant", "b\n\nb\n\nb")]),
    (
        "joined-turns",
        [USER, UNTRAINED, UNTRAINED, USER, ANSWER],
        [USER, {**UNTRAINED, "content": "b\n\nb"}, USER, ANSWER],
    ),
    ("unanswered-turn", [USER, ANSWER, turn("user", "c")], [USER, ANSWER]),
    ("unanswered-turn", [SYSTEM, USER, UNTRAINED, USER, ANSWER, USER], [SYSTEM, USER, UNTRAINED, USER, ANSWER]),
]


@pytest.mark.parametrize(("code", "turns", "expected"), RESCUED)
def test_a_repair_rescues_its_row_when_asked_for_and_is_named_when_not(code: str, turns: list, expected: list) -> None:
    before = [dict(each) for each in turns]
    assert refused(turns)[1] == code
    assert refused(turns, *(ALL - {code}))[1] == code
    assert read(turns, code) == read(turns, *ALL) == Reading(tuple(expected), (code,))
    assert turns == before


@pytest.mark.parametrize("code", sorted(ALL))
def test_a_repair_leaves_a_sound_row_alone(code: str) -> None:
    for turns in ([USER, ANSWER], [SYSTEM, USER, UNTRAINED, USER, ANSWER]):
        assert read(turns, code) == Reading(tuple(turns))


def test_white_space_is_taken_off_the_ends_and_never_from_inside() -> None:
    turns = [turn("user", " \n a  b\n\tc \u2003"), turn("assistant", "b")]
    assert read(turns) == Reading(tuple(turns), offered=("white-space",))
    mended = (turn("user", "a  b\n\tc"), turn("assistant", "b"))
    assert read(turns, "white-space") == Reading(mended, ("white-space",))


def test_white_space_is_taken_off_whole_contents_in_every_form() -> None:
    alpaca = Mapping("alpaca", {"instruction": "i", "input": "in", "output": "o"})
    reading = conversation({"i": " a ", "in": " b ", "o": "c\n"}, alpaca, ALL)
    assert [message["content"] for message in reading.messages] == ["a \n b", "c"]
    text = conversation({"t": "\n  a\n b\n"}, Mapping("text", {"text": "t"}), ALL)
    assert text == Reading((turn("text", "a\n b"),), ("white-space",))


def test_a_weight_survives_its_white_space() -> None:
    turns = [USER, {**UNTRAINED, "content": " b"}, USER, ANSWER]
    assert read(turns, "white-space").messages == (USER, UNTRAINED, USER, ANSWER)


def test_a_row_that_needs_two_repairs_names_the_first_and_then_the_next() -> None:
    turns = [turn("", "s"), turn("User"), turn("user", "c"), ANSWER, USER]
    needed = ("missing-system-role", "role-typos", "joined-turns", "unanswered-turn")
    for count, code in enumerate(needed):
        assert refused(turns, *needed[:count])[1] == code
    assert read(turns, *needed) == Reading((SYSTEM, turn("user", "a\n\nc"), ANSWER), needed)


def test_turns_joined_can_leave_one_that_nobody_answers() -> None:
    turns = [USER, ANSWER, USER, USER]
    assert refused(turns, "unanswered-turn") == ("roles-order", "joined-turns")
    assert refused(turns, "joined-turns") == ("ends-with-user", "unanswered-turn")
    assert read(turns, *ALL).messages == (USER, ANSWER)


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ([turn("assitant"), turn("tool")], "unknown-role"),
        ([turn("User"), turn("Assistant", "")], "unknown-role"),
        ([turn(None), ANSWER], "unknown-role"),
        ([USER, turn(None, "b")], "unknown-role"),
        ([USER, turn("robot", "b")], "unknown-role"),
        ([USER, turn("assistantt", "b")], "unknown-role"),
        ([USER, USER], "no-answer"),
        ([USER], "no-answer"),
        ([ANSWER, ANSWER, USER, ANSWER], "starts-with-assistant"),
        ([USER, ANSWER, UNTRAINED], "roles-order"),
        ([USER, UNTRAINED, USER], "ends-with-user"),
        ([SYSTEM, USER, SYSTEM, ANSWER], "system-not-first"),
    ],
)
def test_a_row_that_no_repair_rescues_names_none(turns: list, code: str) -> None:
    assert refused(turns) == (code, "")
    assert refused(turns, *ALL)[1] == ""


def test_a_system_beside_the_turns_is_kept_apart_from_one_that_a_repair_finds() -> None:
    sharegpt = Mapping("sharegpt", {"conversations": "c", "system": "s"})
    nameless = [turn(None, "x"), USER, ANSWER]
    with pytest.raises(BadRow) as caught:
        conversation({"c": nameless, "s": "s"}, sharegpt)
    assert caught.value.repair == ""
    typo = conversation({"c": [turn("User"), ANSWER], "s": "s"}, sharegpt, ALL)
    assert typo == Reading((SYSTEM, USER, ANSWER), ("role-typos",))


def test_turns_of_a_prompt_are_mended_too() -> None:
    prompt = Mapping("prompt-completion", {"prompt": "p", "completion": "c"})
    reading = conversation({"p": [turn("User"), turn("Asistant", "b"), USER], "c": "b"}, prompt, ALL)
    assert reading == Reading((USER, UNTRAINED, USER, ANSWER), ("role-typos",))


def test_known_typos_are_no_role_by_themselves() -> None:
    assert not set(TYPOS) & (set(ROLES) | set(SPELLINGS))
    assert set(TYPOS.values()) <= set(ROLES)
    assert all(typo == typo.strip().casefold() for typo in TYPOS)


def test_a_long_row_is_joined_in_time_that_grows_with_it() -> None:
    start = time.perf_counter()
    reading = read([turn("user", "x")] * 100_000 + [ANSWER], *ALL)
    assert len(reading.messages[0]["content"]) == 3 * 100_000 - 2
    assert time.perf_counter() - start < 5


roles = st.sampled_from([*ROLES, "User", "assitant", "human", "tool", "", None])
contents = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
weights = st.sampled_from([{}, {}, {"weight": 0}, {"weight": 1}])
raw_turns = st.builds(lambda role, content, weight: {**turn(role, content), **weight}, roles, contents, weights)


def outcome(turns: list[Any], asked: set[str]) -> Reading | str:
    """The reading, or the repair that is named."""
    try:
        return read(turns, *asked)
    except BadRow as error:
        return error.repair


@given(st.lists(raw_turns, max_size=6), st.sets(st.sampled_from(sorted(ALL))))
def test_a_named_repair_always_leads_on_to_a_sound_row(turns: list, asked: set[str]) -> None:
    while isinstance(reading := outcome(turns, asked), str) and reading:
        assert reading not in asked
        asked.add(reading)
    if not isinstance(reading, str):
        assert set(reading.repaired) <= asked
        assert set(reading.offered).isdisjoint(asked)
        assert read(list(reading.messages)).messages == reading.messages
    else:
        assert outcome(turns, set(ALL)) == ""
