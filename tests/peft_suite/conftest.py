"""Runs PEFT's own test suite against PRoLoRA: our configurations, tiny local models, and no hub."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from peft_tests import testing_utils

from prolora.peft import ProloraConfig
from tests.peft_suite import models
from tests.peft_suite.exclusions import DEFECTS, OTHER_FEATURES

HERE = Path(__file__).parent
left_out: Counter[str] = Counter()


class Everything(dict[str, int]):
    """The suite's record of the models it has fetched: with all of them in it, it never goes online."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, _: str) -> int:
        return 1


testing_utils._HUB_MODEL_ACCESSES = Everything()


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    models.write(root)
    return root


@pytest.fixture(autouse=True)
def _where_names_are_paths(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(hub)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {item: reason_against(item) for item in items if HERE in item.path.parents}
    left_out.update(filter(None, reasons.values()))
    dropped = [item for item, reason in reasons.items() if reason]
    config.hook.pytest_deselected(items=dropped)
    for item in reasons:
        item.add_marker(pytest.mark.filterwarnings("ignore"))  # the suite's own, by the hundred
    items[:] = [item for item in items if not reasons.get(item)]


def reason_against(item: pytest.Item) -> str | None:
    """Why a test of the suite does not run here, or None if it does."""
    if not concerns_us(item):
        return "tests of PEFT's other methods"
    reasons = {**OTHER_FEATURES, **DEFECTS}
    return next((reason for pattern, reason in reasons.items() if re.search(pattern, item.nodeid)), None)


def concerns_us(item: pytest.Item) -> bool:
    """Whether one of our configurations is a parameter of the test."""
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    return any(value is ProloraConfig or isinstance(value, ProloraConfig) for value in parameters.values())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, number in left_out.items():
        terminalreporter.write_line(f"PEFT's suite without {number}: {reason}")
