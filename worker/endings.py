"""How a job can end, and in what words the person is told."""

from prolora.errors import StudioError

# The child's exit codes; anything else is a crash.
FAILED, CANCELLED, LEASE_LOST = 1, 3, 4
OUT_OF_MEMORY = (
    "Memory ran out. Choose a smaller batch size, a shorter cut-off or a smaller base model, and start again."
)


class Cancelled(Exception):  # noqa: N818 - an ending, not a fault
    """The person asked for the job to stop."""


class Released(Exception):  # noqa: N818 - an ending, not a fault
    """The worker is going down; the job goes back into the queue."""


class ChildFailed(Exception):  # noqa: N818
    """The child process ended badly; the text is for the person."""


def explain(error: BaseException, log: str = "the job's log") -> str:
    """A sentence for the person whose job this was."""
    if isinstance(error, StudioError | ChildFailed):
        return str(error)
    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    lines = str(error).strip().splitlines()
    return f"Training failed: {type(error).__name__}{f': {lines[-1]}' if lines else ''}. See {log} for the whole story."


def ran_out_of_memory(error: BaseException) -> bool:
    """Told by name, so that the supervisor need not load torch to know torch.OutOfMemoryError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


def explain_exit(code: int, words: str) -> str:
    """A sentence for a child that ended with `code`, having said `words` last."""
    if words:
        return words
    if code == -9:
        return (
            "The training process was killed (signal 9). Most often that is the system's answer to a lack of memory: "
            "choose a smaller batch size, a shorter cut-off or a smaller base model, and start again."
        )
    how = f"was stopped by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"The training process {how} without saying why. See the job's log."
