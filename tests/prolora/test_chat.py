from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from prolora import chat
from prolora.base_models import DEMO
from prolora.chat import TEMPLATE, ChatTokenizer, Piece, render
from prolora.errors import BaseModelError

USER = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "It is 4."}
CONVERSATIONS = [
    [USER, ANSWER],
    [{"role": "system", "content": "Be brief."}, USER, ANSWER],
    [USER, ANSWER, {"role": "user", "content": "And 3 + 3?"}, {"role": "assistant", "content": "6"}],
    [
        {"role": "user", "content": "Grüße, 世界 👋🏽!"},
        {"role": "assistant", "content": "  안녕\n\n\ttabs é\u2028end  "},
    ],
    [{"role": "user", "content": "{{ 7 * 7 }} {% if %} <|assistant|>\n"}, {"role": "assistant", "content": "{# no #}"}],
    [{"role": "user", "content": "\r\n<b>&amp;</b>"}, {"role": "assistant", "content": "\n"}],
    [USER, {**ANSWER, "weight": 0}, {"role": "user", "content": "And 3 + 3?"}, {**ANSWER, "weight": 1}],
    [USER, ANSWER, {"role": "user", "content": "And 3 + 3?"}, {"role": "assistant", "content": "7", "weight": 0}],
    [{"role": "text", "content": "  Once upon\n\na time, 世界 {{ 7 }}\n"}],
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 400 tokens."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in ("<s>", "</s>", "<pad>")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([render(conversation).text for conversation in CONVERSATIONS] * 5, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    return folder


def as_transformers_has_it(folder: Path, messages: list, max_length: int | None = None) -> tuple[list, list]:
    encoded = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages,
        chat_template=TEMPLATE,
        return_assistant_tokens_mask=True,
        return_dict=True,
        truncation=max_length is not None,
        max_length=max_length,
    )
    return list(encoded["input_ids"]), [bool(each) for each in encoded["assistant_masks"]]


def test_the_text_is_the_one_the_method_describes() -> None:
    rendered = render([{"role": "system", "content": "Hm."}, *CONVERSATIONS[2]])
    assert rendered.text == (
        "<s><|system|>\nHm.\n<|user|>\nWhat is 2 + 2?\n<|assistant|>\nIt is 4.</s>\n"
        "<|user|>\nAnd 3 + 3?\n<|assistant|>\n6</s>"
    )
    assert [rendered.text[start:end] for start, end in rendered.spans] == ["It is 4.</s>\n", "6</s>"]


def test_an_answer_of_weight_0_is_said_but_not_trained() -> None:
    whole, weighed = render(CONVERSATIONS[2]), render([USER, {**ANSWER, "weight": 0}, *CONVERSATIONS[2][2:]])
    assert weighed.text == whole.text
    assert [weighed.text[start:end] for start, end in weighed.spans] == ["6</s>"]


def test_plain_text_is_trained_from_its_beginning_to_its_end() -> None:
    rendered = render([{"role": "text", "content": "Once.\n"}])
    assert rendered.text == "<s>Once.\n</s>"
    assert [rendered.text[start:end] for start, end in rendered.spans] == ["Once.\n</s>"]


def test_a_prompt_ends_where_the_assistant_begins() -> None:
    assert render([USER], add_generation_prompt=True).text.endswith("?\n<|assistant|>\n")


def test_the_template_cannot_reach_into_python() -> None:
    environment = chat._template().environment
    with pytest.raises(SecurityError):
        environment.from_string("{{ ''.__class__.__mro__ }}").render()


@pytest.mark.parametrize("messages", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
@pytest.mark.parametrize("max_length", [None, 12, 40])
def test_ids_and_mask_are_those_of_transformers(built: Path, messages: list, max_length: int | None) -> None:
    for folder in (built, DEMO):
        encoded = ChatTokenizer(folder).encode(messages, max_length)
        assert (list(encoded.ids), list(encoded.mask)) == as_transformers_has_it(folder, messages, max_length)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=words, answer=words, more=words, last=words)
def test_any_text_is_masked_as_transformers_masks_it(
    built: Path, asked: str, answer: str, more: str, last: str
) -> None:
    turns = zip(("user", "assistant", "user", "assistant"), (asked, answer, more, last), strict=True)
    messages = [{"role": role, "content": content} for role, content in turns]
    encoded = ChatTokenizer(built).encode(messages)
    assert (list(encoded.ids), list(encoded.mask)) == as_transformers_has_it(built, messages)
    assert "".join(piece.text for piece in encoded.pieces) == render(messages).text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(words, min_size=1, max_size=4), weights=st.lists(st.sampled_from([0, 1, None]), min_size=4))
def test_any_weights_are_masked_as_transformers_masks_them(built: Path, contents: list, weights: list) -> None:
    messages: list = []
    for content, weight in zip(contents, weights, strict=False):
        messages += [USER, {"role": "assistant", "content": content} | ({} if weight is None else {"weight": weight})]
    encoded = ChatTokenizer(built).encode(messages)
    assert (list(encoded.ids), list(encoded.mask)) == as_transformers_has_it(built, messages)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=words)
def test_any_plain_text_is_masked_as_transformers_masks_it(built: Path, content: str) -> None:
    messages = [{"role": "text", "content": content}]
    encoded = ChatTokenizer(built).encode(messages)
    assert (list(encoded.ids), list(encoded.mask)) == as_transformers_has_it(built, messages)
    assert encoded.mask == (False, *[True] * (len(encoded.ids) - 1))


def test_a_conversation_has_one_beginning_and_what_is_said_is_trained(built: Path) -> None:
    encoded = ChatTokenizer(built).encode(CONVERSATIONS[2])
    assert encoded.ids.count(0) == 1
    assert not encoded.truncated
    assert encoded.pieces == (
        Piece("<s><|user|>\nWhat is 2 + 2?\n<|assistant|>\n", False),
        Piece("It is 4.</s>\n", True),
        Piece("<|user|>\nAnd 3 + 3?\n<|assistant|>\n", False),
        Piece("6</s>", True),
    )


def test_what_is_too_long_loses_its_end_and_says_so(built: Path) -> None:
    whole = ChatTokenizer(built).encode(CONVERSATIONS[0])
    cut = ChatTokenizer(built).encode(CONVERSATIONS[0], len(whole.ids) - 2)
    assert cut.truncated
    assert cut.ids == whole.ids[:-2]
    assert cut.trained == whole.trained - 2
    assert ChatTokenizer(built).encode(CONVERSATIONS[0], 3).trained == 0


def test_a_prompt_is_what_stands_before_the_answer(built: Path) -> None:
    tokenizer = ChatTokenizer(built)
    prompt, whole = tokenizer.prompt([USER]), tokenizer.encode([USER, ANSWER])
    assert whole.ids[: len(prompt)] == prompt
    assert whole.mask[len(prompt) - 1 : len(prompt) + 1] == (False, True)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"no tokenizer\.json"):
        ChatTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BaseModelError, match="not a tokenizer"):
        ChatTokenizer(tmp_path)
