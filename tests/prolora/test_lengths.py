from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from prolora.base_models import DEMO
from prolora.chat import ChatTokenizer
from prolora.dataset import Row
from prolora.dataset.lengths import LOT_ROWS, LOT_TEXT, Bin, Cut, Lengths, count, read, write
from worker.examples import IGNORED, encode_row

WIDE = 1 << 20  # a cut-off that cuts nothing
TEXTS = [
    ("Where is order 0071?", "It left yesterday."),
    ("  two  spaces\n\nand lines ", " leads with a space"),
    ("Wie geht's – gut?", "Ja 🙂, 一二三."),
    ("x" * 300, "Hi"),
    ("<|assistant|> </s> <s>", "</s>"),
]


def asked(question: str, *answers: str) -> Row:
    """Further answers follow further questions."""
    turns = [({"role": "user", "content": question}, {"role": "assistant", "content": each}) for each in answers]
    return Row(tuple(message for turn in turns for message in turn), 1)


ROWS = [
    *(asked(*text) for text in TEXTS),
    asked("And then?", "One.", "Two.", "Three."),
    Row(({"role": "text", "content": "Plain text,\nall of it trained."},), 1),
    Row(
        (
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "Not this.", "weight": 0},
            {"role": "user", "content": "But why?"},
            {"role": "assistant", "content": "This."},
        ),
        1,
    ),
]


def sentencepiece_like(folder: Path) -> Path:
    """As Llama 2's: a space before all text, bytes for unknown characters, and a beginning put there by itself."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False)
    tokenizer.train_from_iterator(["the order left yesterday", "where is the order", "two lines and spaces"], trainer)
    fresh = Tokenizer.from_str(tokenizer.to_str())
    fresh.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ("<s>", "</s>")])
    fresh.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    fresh.decoder = decoders.Metaspace()
    fresh.save(str(folder / "tokenizer.json"))
    return folder


def byte_level_with_a_space_in_front(folder: Path) -> Path:
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *pre_tokenizers.ByteLevel.alphabet()])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "$A $B", [("<s>", 0), ("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(params=["demo", "sentencepiece", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> ChatTokenizer:
    made = {
        "demo": lambda: DEMO,
        "sentencepiece": lambda: sentencepiece_like(tmp_path),
        "bytes": lambda: byte_level_with_a_space_in_front(tmp_path),
    }
    return ChatTokenizer(made[request.param]())


def counted(tokenizer: ChatTokenizer, rows: Sequence[Row] = ROWS) -> Lengths:
    return count(tokenizer, rows, lambda done: None)


def some(*rows: tuple[int, int, int]) -> Lengths:
    return Lengths(*np.array(rows, np.uint32).reshape(-1, 3).T)


def test_lengths_are_those_of_what_training_makes_of_the_rows(tokenizer: ChatTokenizer) -> None:
    lengths = counted(tokenizer)
    for row, total, before, trained in zip(ROWS, lengths.total, lengths.before, lengths.trained, strict=True):
        example = encode_row(tokenizer, row, WIDE)
        first = next(i for i, label in enumerate(example.labels[1:], 1) if label != IGNORED)
        assert (total, before, trained) == (len(example.ids), first, example.trained)


def test_rows_that_a_cut_off_leaves_untrained_are_those_that_training_leaves_out(tokenizer: ChatTokenizer) -> None:
    lengths = counted(tokenizer)
    cutoffs = sorted({int(each) + step for each in (*lengths.total, *lengths.before) for step in (-1, 0, 1)})
    for cutoff in cutoffs:
        examples = [encode_row(tokenizer, row, cutoff) for row in ROWS]
        untrained = sum(not example.trained for example in examples)
        cut = sum(len(encode_row(tokenizer, row, WIDE).ids) > cutoff for row in ROWS)
        assert lengths.at(cutoff) == Cut(len(ROWS), cut, untrained)


def test_the_order_survives_many_lots_and_progress_tells_of_each() -> None:
    tokenizer = ChatTokenizer(DEMO)
    rows = [asked("a " * (i % 7), "b") for i in range(2 * LOT_ROWS + 5)]
    heard: list[int] = []
    lengths = count(tokenizer, rows, heard.append)
    assert lengths.total.tolist() == [len(tokenizer.encode(row.messages).ids) for row in rows]
    assert heard == [LOT_ROWS, 2 * LOT_ROWS, 2 * LOT_ROWS + 5]


def test_long_rows_are_tokenised_a_few_at_a_time() -> None:
    heard: list[int] = []
    count(ChatTokenizer(DEMO), [asked("a " * (LOT_TEXT // 2), "b"), asked("Why?", "So.")], heard.append)
    assert heard == [1, 2]


def test_what_progress_raises_ends_the_count() -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count(ChatTokenizer(DEMO), ROWS, stop)


def test_no_rows_have_no_lengths() -> None:
    lengths = counted(ChatTokenizer(DEMO), [])
    assert lengths.at(16) == Cut(0, 0, 0)
    assert sum(each.rows for each in lengths.histogram(16)) == 0


def test_a_row_of_exactly_the_cut_off_is_not_cut() -> None:
    assert some((16, 4, 12), (17, 15, 2), (17, 16, 1)).at(16) == Cut(rows=3, cut=2, untrained=1)


def test_a_row_without_a_trained_token_is_untrained_at_every_cut_off() -> None:
    assert some((10, 10, 0)).at(1000) == Cut(rows=1, cut=0, untrained=1)


def test_a_histogram_has_an_edge_at_the_cut_off_and_counts_every_row_once() -> None:
    lengths = some((1, 0, 1), (10, 0, 1), (20, 0, 1), (21, 0, 1), (999, 0, 1))
    assert lengths.histogram(20, bins=2) == (Bin(0, 10, 2), Bin(10, 20, 1), Bin(20, 30, 1), Bin(30, 999, 1))


@pytest.mark.parametrize("cutoff", [1, 2, 16, 17, 33, 512, 131072, 10**12])
def test_the_bins_beyond_the_cut_off_hold_the_rows_that_are_cut(cutoff: int) -> None:
    lengths = some(*((each, 0, 1) for each in range(0, 70000, 7)))
    bins = lengths.histogram(cutoff)
    assert sum(each.rows for each in bins) == len(lengths.total)
    assert sum(each.rows for each in bins if each.over >= cutoff) == lengths.at(cutoff).cut
    assert all(first.to == second.over for first, second in pairwise(bins))


@pytest.mark.parametrize("cutoff", [0, -7])
def test_a_cut_off_of_nothing_cuts_every_row_and_trains_none(cutoff: int) -> None:
    lengths = some((16, 4, 12), (17, 15, 2))
    assert lengths.at(cutoff) == Cut(rows=2, cut=2, untrained=2)
    assert sum(each.rows for each in lengths.histogram(cutoff)) == 2


def test_some_rows_are_picked_out() -> None:
    lengths = some((16, 4, 12), (17, 15, 2), (17, 16, 1))
    assert lengths.of(np.array([True, False, True])).at(16) == Cut(rows=2, cut=1, untrained=1)


def test_what_is_written_is_read_back_from_the_disk(tmp_path: Path) -> None:
    lengths = counted(ChatTokenizer(DEMO))
    write(tmp_path / "lengths.npy", lengths)
    back = read(tmp_path / "lengths.npy")
    assert isinstance(back.total.base, np.memmap)
    for name in ("total", "before", "trained"):
        assert getattr(back, name).tolist() == getattr(lengths, name).tolist()
    assert (tmp_path / "lengths.npy").stat().st_size < 128 + 12 * len(ROWS) + 1
