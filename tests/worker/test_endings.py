import pytest
import torch

from prolora.errors import DatasetError
from worker import endings
from worker.endings import ChildFailed, explain, explain_exit


def test_an_error_worded_for_the_person_is_told_as_it_is() -> None:
    assert explain(DatasetError("Line 3 is empty.")) == "Line 3 is empty."
    assert explain(ChildFailed("It fell over.")) == "It fell over."


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("you tried, can't allocate memory")],
)
def test_a_lack_of_memory_is_told_plainly(error: Exception) -> None:
    assert explain(error) == endings.OUT_OF_MEMORY


def test_any_other_error_is_told_by_its_kind_and_last_line() -> None:
    assert explain(KeyError("a\nb")).startswith("Training failed: KeyError")
    assert (
        explain(ValueError("first\nlast"))
        == "Training failed: ValueError: last. See the job's log for the whole story."
    )


def test_a_child_that_said_nothing_is_told_by_how_it_ended() -> None:
    assert "killed" in explain_exit(-9, "")
    assert "signal 11" in explain_exit(-11, "")
    assert "code 2" in explain_exit(2, "")
