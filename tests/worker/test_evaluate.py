"""What is measured of held-out rows that are not a question with one answer at its end."""

from pathlib import Path

import pytest

from prolora.chat import ChatTokenizer, Message
from prolora.dataset import Row
from tests.worker.conftest import Studio, add_dataset, rows_of
from worker import tasks
from worker.evaluate import judge, prepare
from worker.examples import IGNORED, encode

TEXT = Row(({"role": "text", "content": "Once upon a time."},), 7)


def weighed(*weights: int) -> Row:
    turns: list[Message] = []
    for number, weight in enumerate(weights):
        answer: Message = {"role": "assistant", "content": f"A{number}"}
        turns += [
            {"role": "user", "content": f"Q{number}"},
            answer if weight else {"role": "assistant", "content": f"A{number}", "weight": 0},
        ]
    return Row(tuple(turns), 1)


def test_plain_text_is_trained_whole_but_for_its_beginning(tiny_base: Path) -> None:
    tokenizer = ChatTokenizer(tiny_base)
    (example,) = encode(tokenizer, [TEXT], 128)
    assert example.labels == [IGNORED, *example.ids[1:]]
    assert tokenizer.tokenizer.decode(example.ids[1:], skip_special_tokens=False) == "Once upon a time.</s>"


def test_an_answer_of_weight_0_has_no_label(tiny_base: Path) -> None:
    tokenizer = ChatTokenizer(tiny_base)
    (example,) = encode(tokenizer, [weighed(1, 0)], 128)
    trained = [label for label in example.labels if label != IGNORED]
    assert tokenizer.tokenizer.decode(trained, skip_special_tokens=False).strip() == "A0</s>"


@pytest.mark.parametrize(("weights", "place"), [((1, 1), 3), ((1, 0), 1), ((0, 1, 0), 3)])
def test_the_last_trained_answer_is_the_one_compared(tiny_base: Path, weights: tuple[int, ...], place: int) -> None:
    tokenizer, row = ChatTokenizer(tiny_base), weighed(*weights)
    items, _ = prepare(tokenizer, [row], 128)
    assert items.golds == [row.messages[place]["content"]]
    assert items.prompts == [list(tokenizer.prompt(row.messages[:place]))]


def test_plain_text_has_a_loss_and_no_answer(tiny_base: Path) -> None:
    items, _ = prepare(ChatTokenizer(tiny_base), [TEXT, *rows_of([("Hi", "Ho")]), TEXT], 128)
    assert (items.asked, items.golds, len(items.prompts)) == ([1], ["Ho"], 1)
    estimates = judge(items, ["Ho"], [30.0, 3.0, 20.0])
    assert {name: estimate.n for name, estimate in estimates.items()} == {
        "loss": 3,
        "perplexity": 3,
        "exact_match": 1,
        "token_f1": 1,
    }


def test_of_plain_text_alone_only_the_loss_is_measured(studio: Studio) -> None:
    texts = [Row(({"role": "text", "content": f"Item {number} costs {number} euros."},), number) for number in range(9)]
    job_id = studio.submit(studio.plan(), add_dataset(texts))
    tasks.run_job(job_id)
    scores = studio.scores(job_id)
    assert set(scores) == {(subject, metric) for subject in ("adapter", "base") for metric in ("loss", "perplexity")}
    assert all(each["answer"] is None and each["loss"] > 0 for each in studio.predictions(job_id, "base"))
