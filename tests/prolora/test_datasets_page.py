"""docs/datasets.md names every reason for which a row is left out, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = re.compile(r'(?:BadRow\(\s*|return Element\([^)]*?\(|, \(|append\(\()"([a-z-]+)"')
PARTS = {f"no-{part}" for part in ("instruction", "prompt", "answer")}


def codes_of_the_reader() -> set[str]:
    source = "".join(path.read_text() for path in (ROOT / "prolora" / "dataset").glob("*.py"))
    assert 'BadRow(f"no-{part}"' in source
    return set(CODE.findall(source)) | PARTS


def test_every_code_is_explained_and_no_other() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text()
    table = page[page.index("## Why a row is left out") :]
    explained = {code for line in table.splitlines() for code in re.findall(r"`([a-z-]+)`", line.split(" | ")[0])}
    assert explained == codes_of_the_reader()
