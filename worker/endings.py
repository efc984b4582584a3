"""How a job can end, in what words the person is told, and how a child says it to its supervisor."""

import errno
import json
from dataclasses import asdict, dataclass

from db.jobs import LeaseLost
from db.outage import DatabaseAway
from prolora.errors import StudioError

FAILED = 1  # the exit code of a child that has said how it ends; any other is a crash
MOST_WORDS = 4000  # characters of a sentence: it has to fit into a pipe that is read at the end
OUT_OF_MEMORY = (
    "Memory ran out. Choose a smaller batch size, a shorter cut-off or a smaller base model, and start again."
)
NO_SPACE = "The disk is full. Make room where the studio keeps its data (STUDIO_DATA), and start again."
ALLOCATORS_SAY = ("not enough memory", "can't allocate memory", "CUDA error: out of memory", "ALLOC_FAILED")


class Cancelled(Exception):  # noqa: N818 - an ending, not a fault
    """The person asked for the job to stop."""


class Released(Exception):  # noqa: N818 - an ending, not a fault
    """The worker is going down; the job goes back into the queue."""


class DivergedError(StudioError):
    """A model whose loss is no number."""


class ChildFailed(Exception):  # noqa: N818
    """The child process ended badly; the text is for the person."""

    def __init__(self, sentence: str, reason: str = "error") -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Farewell:
    """A child's last words: a line of JSON on its supervisor's pipe."""

    ending: str  # cancelled, lease-lost, database-away or failed
    reason: str = ""  # of a failure, one of db.jobs.REASONS
    sentence: str = ""

    @property
    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def farewell(error: BaseException) -> Farewell:
    """What the supervisor is told of an error that ends a child."""
    match error:
        case Cancelled():
            return Farewell("cancelled")
        case LeaseLost():
            return Farewell("lease-lost", sentence=str(error))
        case DatabaseAway():
            return Farewell("database-away", sentence=str(error))
    return Farewell("failed", reason_of(error), explain(error))


def raised(code: int, words: bytes) -> Exception:
    """What the end of a child that did not succeed is to its supervisor. Of several processes the first one counts."""
    lines = [line for line in words.splitlines() if line.startswith(b'{"ending"')]  # torchrun may have its say too
    if not lines:
        return ChildFailed(explain_exit(code), "out-of-memory" if code == -9 else "error")
    said = Farewell(**json.loads(lines[0]))
    match said.ending:
        case "cancelled":
            return Cancelled()
        case "lease-lost":
            return LeaseLost(said.sentence)
        case "database-away":
            return DatabaseAway(said.sentence)
    return ChildFailed(said.sentence, said.reason)


def reason_of(error: BaseException) -> str:
    """Why a job failed, in one of db.jobs.REASONS."""
    if isinstance(error, ChildFailed):
        return error.reason
    if isinstance(error, DivergedError):
        return "diverged"
    if isinstance(error, StudioError):
        return "bad-input"
    return "out-of-memory" if ran_out_of_memory(error) else "error"


def explain(error: BaseException, log: str = "the job's log") -> str:
    """A sentence for the person whose job this was."""
    if isinstance(error, StudioError | ChildFailed):
        return str(error)
    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return NO_SPACE
    lines = str(error).replace("\x00", "").strip().splitlines()
    said = f": {lines[-1][:MOST_WORDS]}" if lines else ""
    return f"Training failed: {type(error).__name__}{said}. See {log} for the whole story."


def ran_out_of_memory(error: BaseException) -> bool:
    """Told by name, so that the supervisor need not load torch to know torch.OutOfMemoryError."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or any(said in str(error) for said in ALLOCATORS_SAY)
    )


def explain_exit(code: int) -> str:
    """A sentence for a child that ended with `code` and no word."""
    if code == -9:
        return (
            "The training process was killed (signal 9). Most often that is the system's answer to a lack of memory: "
            "choose a smaller batch size, a shorter cut-off or a smaller base model, and start again."
        )
    how = f"was stopped by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"The training process {how} without saying why. See the job's log."
