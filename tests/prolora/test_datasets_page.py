"""docs/datasets.md names every reason for which a row is left out, and no other."""

import re
from pathlib import Path

from prolora.dataset.forms import KNOWN, REPAIRS

ROOT = Path(__file__).parents[2]
CODE = re.compile(r'(?:BadRow\(\s*|return Element\([^)]*?\(|, \(|append\(\()"([a-z-]+)"')
PARTS = {f"no-{part}" for part in ("instruction", "prompt", "answer", "text")}


def codes_of_the_reader() -> set[str]:
    source = "".join(path.read_text() for path in (ROOT / "prolora" / "dataset").glob("*.py"))
    assert 'BadRow(f"no-{part}"' in source
    return set(CODE.findall(source)) | PARTS


def test_every_repair_is_explained_in_its_own_words() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert [line for line in page.splitlines() if line.startswith(tuple(f"| `{code}` |" for code in REPAIRS))] == [
        f"| `{code}` | {what} |" for code, what in REPAIRS.items()
    ]


def test_every_form_is_explained() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert all(f"\n| `{form}` | `" in page for form in KNOWN)


def test_every_code_is_explained_and_no_other() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    table = page[page.index("## Why a row is left out") :]
    explained = {code for line in table.splitlines() for code in re.findall(r"`([a-z-]+)`", line.split(" | ")[0])}
    assert explained == codes_of_the_reader()
