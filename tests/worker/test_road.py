from pathlib import Path

import pytest

from prolora.errors import BaseModelError, DatasetError
from tests.worker.conftest import TEXTS, Studio, add_dataset, claimed, rows_of
from worker import road, work


@pytest.fixture
def unloadable(data: Path, tiny_base: Path, tmp_path: Path) -> Studio:
    """A base whose weights look whole until they are loaded."""
    folder = tmp_path / "base"
    folder.mkdir()
    for each in tiny_base.iterdir():
        (folder / each.name).symlink_to(each)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes((16).to_bytes(8, "little") + b"{not the weights")
    return Studio(folder, add_dataset(rows_of(TEXTS)))


def test_rows_that_teach_nothing_are_told_before_the_base_is_loaded(unloadable: Studio) -> None:
    nothing = add_dataset(rows_of([("x" * 300, "Hi"), ("y" * 300, "Hi")]))
    with pytest.raises(DatasetError, match="No row would teach anything"):
        road.travel(work.load(claimed(unloadable.submit(unloadable.plan(), nothing))))
    with pytest.raises(BaseModelError):
        road.travel(work.load(claimed(unloadable.submit(unloadable.plan()))))
