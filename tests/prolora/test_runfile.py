import subprocess
import sys
from dataclasses import replace

import pytest

from prolora import runfile
from prolora.errors import PlanError, StudioError
from prolora.plan import Plan, Setting

PLAN = Plan("prolora", Setting(16, 4, 3, 3), "demo", learning_rate=1e-5, dropout=0.1, seed=7, packing=True)
FACTS = {
    "name": "Tickets: “wér”, 1",
    "gpus": 2,
    "parameters": 155_648,
    "plan": {**PLAN.to_json(), "target_modules": list(PLAN.target_modules)},
    "dataset": {"name": "null", "content_hash": "a" * 64, "rows": 40},
    "ran_on": {"code": "0.1.0+abc", "versions": {"torch": "2.13.0"}, "device": "cpu", "base_revision": "b" * 64},
    "results": {"step": 2, "total_steps": 2, "losses": {1: 2.5, 2: 1 / 3}, "scores": {"loss": 0.25}},
}


def text(**changes):
    return runfile.write({**FACTS, **changes})


def read(document):
    return runfile.read(document.encode())


def test_a_run_comes_back_as_it_was_written():
    run = read(text())
    assert run.plan == PLAN
    assert (run.name, run.gpus, run.dataset.name) == ("Tickets: “wér”, 1", 2, "null")
    assert run.results.losses == {1: 2.5, 2: 1 / 3}
    assert run.ran_on.versions == {"torch": "2.13.0"}


def test_what_an_older_studio_did_not_write_is_as_it_was_then():
    old = {name: value for name, value in FACTS["plan"].items() if name not in ("packing", "accumulation", "seed")}
    assert read(text(plan=old)).plan == replace(PLAN, packing=False, seed=1)


def test_a_person_may_write_a_learning_rate_as_they_are_used_to():
    assert read(text().replace("1.0e-05", "2e-4")).plan.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("studio_run: 2\nwhatever: 1", "newer studio, in form 2"),
        ("- 1", "not the file of a run"),
        ("", "not the file of a run"),
        ("studio_run: true", "not the file of a run"),
        (text() + "evil: 1\n", "`evil` is not known"),
        (text().replace("  seed: 7", "  sead: 7"), "`plan.sead` is not known"),
        (text().replace("    r: 16\n", ""), "`plan.setting.r` is missing"),
        (text().replace("  seed: 7", "  seed: true"), "`plan.seed` must be a whole number, not True"),
        (text().replace("dropout: 0.1", "dropout: high"), "`plan.dropout` must be a number, not high"),
        (text().replace("dropout: 0.1", f"dropout: {10**400}"), "must be a smaller number"),
        (text().replace("1: 2.5", "one: 2.5"), "`results.losses` must be a whole number, not one"),
        (text().replace("gpus: 2", "gpus: [2]"), "`gpus` must be a whole number"),
        (text(dataset="d"), "`dataset` must be fields with names"),
        (text(name="x" * 500), "at most 400 characters"),
        (text().replace("name: 'null'", 'name: "a\\0b"'), "a plain text"),
        (text() + "gpus: 3\n", "`gpus` stands twice"),
        ("a: &a [x]\nb: [*a, *a]", "refers to another"),
        ("studio_run: 1\n<<: {name: x}", "cannot be read as YAML"),
        ("studio_run: !!python/object/apply:os.system [ls]", "cannot be read as YAML at line 1"),
        ("a: [", "cannot be read as YAML"),
        ("[" * 50_000, "cannot be read as YAML"),
        ("#" * (runfile.LARGEST + 1), "more than 256 KB"),
    ],
)
def test_what_is_no_run_is_refused_with_its_place(document, words):
    with pytest.raises(StudioError, match=words):
        read(document)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(runfile.RunFileError, match="UTF-8"):
        runfile.read(b"\xff\xfe\x00")


def test_a_plan_that_cannot_be_is_refused_as_a_plan():
    with pytest.raises(PlanError, match="Dropout must lie between"):
        read(text().replace("dropout: 0.1", "dropout: .nan"))


def test_reading_a_run_loads_no_torch():
    code = "import prolora.runfile, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
