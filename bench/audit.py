"""What became of every job, by a log that the database itself keeps: a trigger writes down each move."""

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.jobs import ENDINGS
from db.models import Dataset, Job, Metric, Status

COLUMNS = "(id INTEGER PRIMARY KEY {}, job_id INTEGER NOT NULL, attempt INTEGER NOT NULL, came VARCHAR NOT NULL)"
INSERT = "INSERT INTO moves (job_id, attempt, came) VALUES (NEW.id, NEW.attempt, NEW.status);"
TRIGGER = {
    "sqlite": (
        f"CREATE TABLE moves {COLUMNS.format('')}",
        f"CREATE TRIGGER moved AFTER UPDATE OF status ON jobs WHEN OLD.status <> NEW.status BEGIN {INSERT} END",
    ),
    "postgresql": (
        f"CREATE TABLE moves {COLUMNS.format('GENERATED ALWAYS AS IDENTITY')}",
        f"CREATE FUNCTION move_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {INSERT} RETURN NULL; END $$",
        "CREATE TRIGGER moved AFTER UPDATE OF status ON jobs FOR EACH ROW WHEN (OLD.status <> NEW.status)"
        " EXECUTE FUNCTION move_down()",
    ),
}


@dataclass
class Verdict:
    """The jobs' ends, and the numbers of those with which something is wrong."""

    jobs: int = 0
    endings: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)  # jobs by how often they were claimed
    unended: list[int] = field(default_factory=list)
    ended_twice: list[int] = field(default_factory=list)
    untrue: list[int] = field(default_factory=list)  # succeeded without each step told once, or though told to fail
    uncounted: list[int] = field(default_factory=list)  # whose claims are not its attempts

    @property
    def faults(self) -> list[int]:
        return [*self.unended, *self.ended_twice, *self.untrue, *self.uncounted]


def watch(s: Session) -> None:
    """Keep a log of moves from now on; again is harmless."""
    if s.connection().dialect.has_table(s.connection(), "moves"):
        return
    for statement in TRIGGER[s.get_bind().dialect.name]:
        s.execute(text(statement))


def judge(s: Session) -> Verdict:
    """Of probes; a job that trains is true by other signs."""
    came = moves(s)
    told = dict(s.execute(select(Metric.job_id, func.count()).group_by(Metric.job_id)).tuples().all())
    every = s.scalars(select(Job).order_by(Job.id)).all()
    verdict = Verdict(len(every))
    verdict.endings = dict(Counter(str(job.status) for job in every))
    verdict.reasons = dict(Counter(job.reason for job in every if job.reason))
    verdict.attempts = dict(sorted(Counter(job.attempt for job in every).items()))
    for job in every:
        ends = [status for status in came[job.id] if status in ENDINGS]
        if job.status not in ENDINGS:
            verdict.unended.append(job.id)
        elif ends != [job.status] or came[job.id][-1] != job.status:
            verdict.ended_twice.append(job.id)
        if job.status == Status.SUCCEEDED and not true_success(job, told.get(job.id, 0)):
            verdict.untrue.append(job.id)
        if came[job.id].count(Status.RUNNING) != job.attempt:
            verdict.uncounted.append(job.id)
    return verdict


def moves(s: Session) -> dict[int, list[Status]]:
    """Where each job went, in order."""
    found: dict[int, list[Status]] = {job_id: [] for job_id in s.scalars(select(Job.id))}
    for job_id, came in s.execute(text("SELECT job_id, came FROM moves ORDER BY id")):
        found[job_id].append(Status(came))
    return found


def true_success(job: Job, told: int) -> bool:
    return not job.plan.get("fail_at") and job.step == job.plan["steps"] == told


def dataset(s: Session) -> int:
    """The one that every probe names and none reads."""
    facts = {"kept": 1, "rejected": 0, "held_out": 0, "mapping": {}, "form": "alpaca"}
    names = {"name": "none", "source_name": "none", "source_hash": "0" * 64, "content_hash": "0" * 64}
    found = s.scalar(select(Dataset.id).where(Dataset.content_hash == names["content_hash"]))
    if found is None:
        row = Dataset(owner_id=1, **names, **facts)
        s.add(row)
        s.flush()
        found = row.id
    return found
