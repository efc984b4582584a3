"""The very same run again, here and without the web: `python -m worker.reproduce run.yaml`, or a job's number.

It takes the road of every job, as one that repeats the first, and tells at the end how far its losses and scores lie
from the recorded ones. Exit codes: 0 the same, 1 different or failed, 2 refused.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import files, jobs, runs
from db.models import OWNER, Dataset, Job, Metric, Status
from db.outage import patiently
from db.session import MigrationError, migrate, session
from prolora import runfile
from prolora.base_models import trainable
from prolora.errors import StudioError
from prolora.methods import count
from prolora.runfile import Results, RunFile
from worker import base_files, tasks
from worker.endings import ChildFailed
from worker.likeness import Likeness, compare, obstacles
from worker.work import Assignment, assigned

SAME, DIFFERENT, REFUSED = range(3)
LOOK_EVERY = 1.0
Say = Callable[[str], None]


class Refusal(StudioError):  # noqa: N818
    """A run that cannot be done again here."""


@dataclass(frozen=True)
class Source:
    """What is to be done again; `job_id` where it is a job of this studio."""

    run: RunFile
    job_id: int | None = None


def main(words: Sequence[str], say: Say) -> int:
    parser = argparse.ArgumentParser(prog="python -m worker.reproduce", description="Do a recorded run again.")
    parser.add_argument("source", help="the file of a run, or the number of a job")
    parser.add_argument("--anyway", action="store_true", help="though data, base, versions or device differ")
    asked = parser.parse_args(words)
    try:
        migrate()
        source = source_of(asked.source)
        dataset_id, rows = dataset_of(source.run)
        base = trainable(source.run.plan.base_model)
        found = obstacles(source.run, rows, base, base_files.folder(base))
    except (StudioError, MigrationError) as error:
        say(str(error))
        return REFUSED
    for sentence in found:
        say(sentence)
    if found and not asked.anyway:
        say("So this would not be the same run. Mend that, or add --anyway.")
        return REFUSED
    return again(source, dataset_id, say)


def source_of(words: str) -> Source:
    if words.isdecimal():
        with session() as s:
            job = s.get(Job, int(words))
            return Source(run_of(s, job, words), int(words))
    try:
        return Source(runfile.read(Path(words).read_bytes()))
    except OSError as error:
        raise Refusal(
            f"{words} cannot be read: {error.strerror}. Give the file of a run, or a job's number."
        ) from error


def run_of(s: Session, job: Job | None, number: str) -> RunFile:
    if job is None or job.owner_id != OWNER or job.kind != "train":
        raise Refusal(f"There is no training job number {number} here. Give one of this studio, or a run's file.")
    if job.status not in jobs.ENDINGS:
        raise Refusal(f"Job {number} has not ended yet, so there is nothing to compare with. Wait for its end.")
    return runfile.of_facts(runs.facts(s, job))


def dataset_of(run: RunFile) -> tuple[int, Path]:
    with session() as s:
        same = select(Dataset.id).where(Dataset.owner_id == OWNER, Dataset.content_hash == run.dataset.content_hash)
        found = s.scalar(same)
    rows = files.dataset_rows(run.dataset.content_hash) if found else None
    if found is None or rows is None or not rows.is_file():
        raise Refusal(f"The rows of “{run.dataset.name}” are not here. {run.dataset.origin}")
    return found, rows


def again(source: Source, dataset_id: int, say: Say) -> int:
    assignment = patiently(lambda s: begin(s, source, dataset_id))
    job_id = assignment.lease.job_id
    say(f"Job {job_id} does it again.")
    try:
        with followed(job_id, say):
            tasks.run(assignment)
    except KeyboardInterrupt:
        tasks.finish(assignment.lease, Status.CANCELLED)
        say(f"Job {job_id} was cancelled.")
        return DIFFERENT
    except ChildFailed as error:
        say(f"Job {job_id} failed: {error}")
        return DIFFERENT
    return conclude(source.run, job_id, say)


def begin(s: Session, source: Source, dataset_id: int) -> Assignment:
    """Queued and taken in one transaction, so that no other worker gets it."""
    run = source.run
    shapes = trainable(run.plan.base_model).shapes
    job = Job(
        owner_id=OWNER,
        dataset_id=dataset_id,
        name=run.name[:120],
        plan=run.plan.to_json(),
        parameters=count(run.plan.method, run.plan.setting, shapes, run.plan.target_modules),
        gpus=run.gpus,
        origin_id=source.job_id,
    )
    lease = jobs.claim(s, jobs.submit(s, job), tasks.ME)
    if lease is None:
        raise Refusal("The job could not be taken. Try again.")
    return assigned(s, lease)


def conclude(run: RunFile, job_id: int, say: Say) -> int:
    with session() as s:
        job = s.get_one(Job, job_id)
        after = Results(step=job.step, total_steps=job.total_steps, **runs.results(s, job_id))
        status = job.status
    if status != Status.SUCCEEDED:
        say(f"Job {job_id} is {status}, so nothing can be compared.")
        return DIFFERENT
    found = compare(run.results, after)
    for line in verdict(found):
        say(line)
    return SAME if found.same else DIFFERENT


def verdict(found: Likeness) -> list[str]:
    scores = found.scores.words if found.scores else "not compared, since the first run did not come to its end"
    how = "The run was reproduced." if found.same else "The run was not reproduced."
    return [f"Losses: {found.losses.words}.", f"Held-out scores: {scores}.", how]


@contextmanager
def followed(job_id: int, say: Say) -> Iterator[None]:
    """Tell how far the job is, from its rows."""
    over = threading.Event()
    thread = threading.Thread(target=follow, args=(job_id, say, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def follow(job_id: int, say: Say, over: threading.Event) -> None:
    """Until it is over, and once more then: a short job may train between two looks."""
    told, ended = "", False
    while not ended:
        ended = over.wait(LOOK_EVERY)
        words = patiently(lambda s: standing(s, job_id))
        if words != told:
            say(words)
        told = words


def standing(s: Session, job_id: int) -> str:
    """What changes with the stage and with every loss that is recorded."""
    stage, total = s.execute(select(Job.stage, Job.total_steps).where(Job.id == job_id)).one()
    points = select(Metric.step, Metric.value).where(Metric.job_id == job_id, Metric.name == "loss")
    last = s.execute(points.order_by(Metric.step.desc()).limit(1)).first()
    return f"{stage}, step {last[0]} of {total}, loss {last[1]:.4f}" if last else stage


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:], lambda line: print(line, flush=True)))  # noqa: T201
