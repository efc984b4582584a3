import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolora.base_models import Linear, Shapes, find
from prolora.budget import (
    DTYPE_BYTES,
    adapters_in,
    bytes_of,
    count,
    grouped,
    largest,
    megabytes,
    parse_budget,
    parse_tolerance,
    short,
    smallest,
)
from prolora.errors import PlanError
from prolora.plan import Setting

SEVEN = find("llama-2-7b").shapes
DEMO = find("demo").shapes


@pytest.mark.parametrize(
    ("setting", "parameters"),
    [
        (Setting.lora(2), 4_997_120),
        (Setting.lora(8), 19_988_480),
        (Setting.lora(16), 39_976_960),
        (Setting.lora(64), 159_907_840),
        (Setting(8, 1, 7, 7), 4_999_520),
        (Setting(4, 1, 3, 3), 4_998_016),
        (Setting(9, 1, 8, 8), 4_997_120),
        (Setting(16, 4, 3, 3), 19_992_064),
        (Setting(32, 4, 7, 7), 19_998_080),
        (Setting(32, 6, 13, 13), 19_997_504),
        (Setting(2, 2, 5, 3), 4_997_120),  # all ranks unshared: m and n mean nothing
    ],
)
def test_a_setting_costs_what_the_method_says(setting: Setting, parameters: int) -> None:
    assert count(setting, SEVEN) == parameters


def test_m_and_n_are_counted_apart() -> None:
    one = Shapes(1, 10, (Linear("q_proj", 10, 7),), 70)
    assert count(Setting(5, 1, 3, 2), one) == 1 * 17 + 4 * (4 + 4)


def test_target_modules_are_counted_alone() -> None:
    assert count(Setting.lora(1), SEVEN, ("q_proj", "v_proj")) == 32 * 2 * 8192


def test_the_smallest_setting_costs_one_lora_rank_where_two_divides_every_width() -> None:
    assert smallest(SEVEN) == SEVEN.lora_unit()
    assert largest(SEVEN) == 6_738_415_616


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("5M", 5_000_000),
        (" 5 m ", 5_000_000),
        ("5,000,000", 5_000_000),
        ("4_997_120", 4_997_120),
        ("19\u2009998\u2009080", 19_998_080),
        ("19.99M", 19_990_000),
        ("20k", 20_000),
        ("0.5B", 500_000_000),
        ("4997120 parameters", 4_997_120),
        ("rank 8", 19_988_480),
        ("Rank=8", 19_988_480),
        ("r=8", 19_988_480),
        ("r8", 19_988_480),
        ("LoRA rank 8", 19_988_480),
        ("lora 8", None),
        ("", None),
        ("-5M", None),
        ("0", None),
        ("0.0000001", None),
        ("rank 0", None),
        ("rank 2.5", None),
        ("40 MB", 10_000_000),
        ("40mb", 10_000_000),
        ("1,000 kB", 250_000),
        ("19 MiB", 4_980_736),
        ("0.5 GB", 125_000_000),
        ("20,000,003 bytes", 5_000_000),
        ("500 adapters in 20 GiB", 10_737_418),
        ("1 adapter in 40 MB", 10_000_000),
        ("1,024 adapters per 20 GiB", 5_242_880),
        ("500 adapters in 20", None),
        ("500 adapters in", None),
        ("0 adapters in 20 GiB", None),
        ("2.5 adapters in 20 GiB", None),
        ("adapters in 20 GiB", None),
        ("500 adapters in 20 B", None),
        ("3 bytes", None),
        ("MB", None),
        ("5 TB", None),
        ("5 Mib", 1_310_720),
        ("5.000.000", None),
        ("1,2", None),
        ("5,00,000", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("٥M", None),
        ("9" * 40, None),
    ],
)
def test_a_budget_is_read_as_a_person_writes_it_or_refused(text: str, parameters: int | None) -> None:
    if parameters is None:
        with pytest.raises(PlanError):
            parse_budget(text, SEVEN)
    else:
        assert parse_budget(text, SEVEN) == parameters


def test_a_size_in_bytes_is_that_of_the_stored_dtype() -> None:
    assert parse_budget("40 MB", SEVEN, dtype="float32") == 10_000_000
    assert parse_budget("40 MB", SEVEN, dtype="bfloat16") == 20_000_000
    assert parse_budget("500 adapters in 20 GiB", SEVEN, dtype="float16") == 21_474_836


def test_a_rank_is_that_of_the_chosen_modules() -> None:
    assert parse_budget("rank 8", SEVEN, ("q_proj", "v_proj")) == 8 * 32 * 2 * 8192


@pytest.mark.parametrize("targets", [("q_prj",), ("q_proj", "qkv_proj")])
def test_a_rank_of_modules_that_are_not_there_is_refused_by_their_names(targets: tuple[str, ...]) -> None:
    with pytest.raises(PlanError, match="Target modules must be among q_proj"):
        parse_budget("rank 8", SEVEN, targets)


@given(st.integers(1, 10**12), st.sampled_from(["{}", "{:,}", "{:_}", " {} parameters "]))
def test_any_whole_number_is_read_as_it_is(parameters: int, written: str) -> None:
    assert parse_budget(written.format(parameters), SEVEN) == parameters


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.sampled_from(list(DTYPE_BYTES)))
def test_as_many_adapters_as_were_asked_for_fit_and_no_more(mib: int, adapters: int, dtype: str) -> None:
    card = mib * 2**20
    budget = parse_budget(f"{adapters} adapters in {mib} MiB", SEVEN, dtype=dtype)
    assert adapters * bytes_of(budget, dtype) <= card < adapters * bytes_of(budget + 1, dtype)


@given(st.text(max_size=30))
def test_any_text_is_a_budget_of_at_least_one_parameter_or_is_refused(text: str) -> None:
    try:
        budget = parse_budget(text, SEVEN)
    except PlanError:
        return
    assert budget >= 1


def test_a_tolerance_is_a_share_of_the_budget() -> None:
    assert parse_tolerance("0.5%") == parse_tolerance(" 0.5 % ") == 0.005
    for text in ("0.5", "half", "-1%", "", "1e1%"):
        with pytest.raises(PlanError, match="share of the budget"):
            parse_tolerance(text)


def test_rank_8_of_the_demo_base_is_its_own_number() -> None:
    assert parse_budget("rank 8", DEMO) == 155_648


def test_bytes_follow_the_stored_dtype() -> None:
    assert bytes_of(155_648) == 622_592
    assert bytes_of(155_648, "bfloat16") == 311_296
    with pytest.raises(PlanError, match="int3"):
        bytes_of(1, "int3")


def test_numbers_are_shown_with_thin_spaces_and_units() -> None:
    assert grouped(19_998_080) == "19\u2009998\u2009080"
    assert short(19_988_480) == "19.99M"
    assert short(155_648) == "155.6k"
    assert short(12) == "12"
    assert megabytes(79_992_320) == "80.0\u2009MB"
    assert megabytes(622) == "0.6\u2009kB"


def test_an_adapter_of_20m_parameters_fits_268_times_into_20_gib() -> None:
    assert adapters_in(bytes_of(count(Setting(32, 4, 7, 7), SEVEN))) == 268
    assert adapters_in(bytes_of(count(Setting(32, 4, 7, 7), SEVEN), "float16")) == 536
