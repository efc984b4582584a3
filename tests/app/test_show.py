from datetime import UTC, datetime, timedelta

from app.pages import show
from app.pages.picture import picture
from app.services import planning
from prolora.plan import Setting


def test_numbers_have_thin_spaces():
    assert show.number(19_998_080) == "19\u202f998\u202f080"


def test_durations_read_as_a_person_says_them():
    assert show.duration(4320).replace("\u202f", " ") == "1 h 12 min"
    assert show.duration(185).replace("\u202f", " ") == "3 min 5 s"


def test_times_are_relative_with_the_exact_one_on_hover():
    html = show.ago(datetime.now(UTC) - timedelta(minutes=3))
    assert "3\u202fmin ago" in html
    assert " UTC" in html


def test_what_comes_from_outside_is_escaped():
    assert "<script>" not in show.link("/x", "<script>") + show.heading("<script>") + show.chip("<script>")


def test_the_picture_has_a_solid_part_a_chunk_and_hatched_copies():
    linear = planning.offer("demo", "rank 8").base.shapes.linears[0]
    svg = picture(Setting(32, 4, 7, 7), linear, 32)
    assert svg.count('fill="url(#hatch)"') == 12
    assert "rolled" in svg
    assert picture(Setting.lora(8), linear, 32).count("<rect") == 3


def test_the_suggestions_are_those_of_the_planner():
    offer = planning.offer("demo", "rank 8")
    assert offer.budget == 155_648
    assert offer.lora.setting == Setting.lora(8)
    assert offer.choice(planning.key_of(offer.choices[1].setting)) == offer.choices[1]
