import errno

import pytest
import torch

from db.jobs import REASONS, LeaseLost
from db.outage import DatabaseAway
from prolora.errors import DatasetError
from worker import endings
from worker.endings import Cancelled, ChildFailed, DivergedError, explain, explain_exit, farewell, raised, reason_of


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
    assert "killed" in explain_exit(-9)
    assert "signal 11" in explain_exit(-11)
    assert "code 2" in explain_exit(2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DatasetError("Line 3 is empty."), "bad-input"),
        (DivergedError("The loss is no number."), "diverged"),
        (MemoryError(), "out-of-memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
        (RuntimeError("CUDA error: out of memory"), "out-of-memory"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out-of-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory"),
        (ChildFailed("It ran out.", "out-of-memory"), "out-of-memory"),
        (ChildFailed("It fell over."), "error"),
        (KeyError("a"), "error"),
    ],
)
def test_every_failure_has_a_reason_to_decide_by_which_outlives_the_pipe(error: Exception, reason: str) -> None:
    assert reason in REASONS
    assert reason_of(error) == reason
    again = raised(1, farewell(error).line)
    assert (reason_of(again), str(again)) == (reason, explain(error))


@pytest.mark.parametrize("error", [Cancelled(), LeaseLost("Another's."), DatabaseAway("It does not answer.")])
def test_what_is_no_failure_comes_out_of_the_pipe_as_itself(error: Exception) -> None:
    again = raised(1, farewell(error).line)
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_a_child_killed_without_a_word_most_likely_wanted_memory() -> None:
    assert reason_of(raised(-9, b"")) == "out-of-memory"
    assert reason_of(raised(-11, b"")) == "error"


def test_of_several_processes_the_first_word_counts() -> None:
    words = farewell(DivergedError("No number.")).line + farewell(RuntimeError("The other end is gone.")).line
    assert reason_of(raised(1, b"[W] a warning of torchrun\n" + words)) == "diverged"


def test_the_longest_sentence_fits_into_a_pipe_and_into_any_database() -> None:
    line = farewell(ValueError("\x00" + "x" * 1_000_000)).line
    assert len(line) < 2**16
    assert b"u0000" not in line


def test_a_full_disk_is_told_plainly() -> None:
    assert explain(OSError(errno.ENOSPC, "No space left on device")) == endings.NO_SPACE
