from pathlib import Path

import pytest

from prolora.chat import ChatTokenizer
from prolora.dataset import Row
from prolora.errors import DatasetError
from tests.worker.conftest import rows_of
from worker.examples import IGNORED, Example, batch, encode, teaching


def test_labels_are_the_tokens_of_the_answer_and_its_end_and_nothing_else(tiny_base: Path) -> None:
    tokenizer = ChatTokenizer(tiny_base)
    (example,) = encode(tokenizer, rows_of([("Why?", "So.")]), 128)
    trained = [label for label in example.labels if label != IGNORED]
    assert tokenizer.tokenizer.decode(trained, skip_special_tokens=False) == "So.</s>"
    assert example.trained == len(trained)


def test_ids_and_labels_are_those_of_transformers(tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    rows: list[Row] = rows_of([("Wie geht's – gut?", "Ja 🙂")])
    (example,) = encode(ChatTokenizer(tiny_base), rows, 128)
    theirs = AutoTokenizer.from_pretrained(tiny_base).apply_chat_template(
        list(rows[0].messages), return_dict=True, return_assistant_tokens_mask=True
    )
    assert example.ids == theirs["input_ids"]
    assert [label != IGNORED for label in example.labels] == [bool(x) for x in theirs["assistant_masks"]]


def test_rows_whose_answer_lies_beyond_the_cut_off_are_left_out_and_named(tiny_base: Path) -> None:
    rows = rows_of([("Hi", "Hi"), ("x" * 200, "Hi")])
    examples, left_out = teaching(ChatTokenizer(tiny_base), rows, 64)
    assert len(examples) == 1
    assert [row.line for row in left_out] == [2]


def test_a_dataset_of_which_no_row_teaches_anything_is_refused(tiny_base: Path) -> None:
    with pytest.raises(DatasetError, match="cut-off of 64 tokens"):
        teaching(ChatTokenizer(tiny_base), rows_of([("x" * 200, "Hi")]), 64)


def test_a_batch_is_padded_on_the_right_and_padding_is_neither_seen_nor_trained() -> None:
    tensors = batch([Example([5, 6, 7], [IGNORED, 6, 7]), Example([8], [8])], filler=9)
    assert tensors["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert tensors["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert tensors["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
