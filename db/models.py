"""The rows. Every row that belongs to someone has an owner; until there are accounts one person exists."""

import enum
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

OWNER = 1  # the one person, until there are accounts


def now() -> datetime:
    return datetime.now(UTC)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC in Python on every database; SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcTime, dict[str, Any]: JSON}
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Status(enum.StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class Dataset(Base):
    """An uploaded file, read whole. Immutable; its rows lie in files named by `content_hash`."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("owner_id", "content_hash"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    name: Mapped[str] = mapped_column(String(120))
    source_name: Mapped[str] = mapped_column(String(255))  # the file's name as uploaded
    source_hash: Mapped[str] = mapped_column(String(64))
    content_hash: Mapped[str] = mapped_column(String(64))  # of the canonical rows
    form: Mapped[str] = mapped_column(String(30))  # of the file, or mixed for one made from others
    mapping: Mapped[dict[str, Any]]  # role of a field -> the file's own field name
    kept: Mapped[int]
    rejected: Mapped[int]
    held_out: Mapped[int]  # of the kept rows, those never trained on
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)  # how the file was understood, and counts by reason
    recipe: Mapped[dict[str, Any] | None]  # for one made from others: from which, and how
    created_at: Mapped[datetime] = mapped_column(default=now)


class Upload(Base):
    """A file on its way to a dataset; its files lie in a private folder named by `key`.

    Whoever deletes the row stops the process that reads the file.
    """

    __tablename__ = "uploads"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    key: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(255))  # the file's name as uploaded
    attempt: Mapped[int] = mapped_column(default=1)  # each time it is read anew, with other choices
    state: Mapped[str] = mapped_column(String(20))  # reading, ready, failed
    choices: Mapped[dict[str, Any]]  # what the person said about how it is to be read
    done: Mapped[float] = mapped_column(default=0.0)  # share of the file that has been read
    rows: Mapped[int] = mapped_column(default=0)  # read so far
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class Survey(Base):
    """Something about a dataset that takes a while to count, in the background."""

    __tablename__ = "surveys"
    __table_args__ = (UniqueConstraint("dataset_id", "kind"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(300))  # near, overlap, or lengths:<base model>
    state: Mapped[str] = mapped_column(String(20))  # waiting, running, done, failed, stopped
    done: Mapped[float] = mapped_column(default=0.0)  # share that has been counted
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class Batch(Base):
    """Jobs that were started together to be compared: a grid of settings, or a recipe of the paper."""

    __tablename__ = "batches"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    name: Mapped[str] = mapped_column(String(120))
    grid: Mapped[dict[str, Any]]  # what was varied
    created_at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """One piece of work for a worker: a training run with its evaluation, or less. `plan` is prolora.Plan as JSON."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "status", "priority", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    name: Mapped[str] = mapped_column(String(120))
    plan: Mapped[dict[str, Any]]
    parameters: Mapped[int] = mapped_column(BigInteger)  # trainable, counted by the planner
    kind: Mapped[str] = mapped_column(String(20), default="train")  # a name of worker.steps.STEPS
    pair: Mapped[str | None] = mapped_column(String(32), index=True)  # shared by a run and its LoRA twin
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batches.id"), index=True)
    after_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"), index=True)  # waits until that one succeeded
    origin_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))  # what it repeats, or is a changed copy of
    priority: Mapped[int] = mapped_column(default=0)  # the highest goes first
    gpus: Mapped[int] = mapped_column(default=1)  # devices of one host that it asks for
    status: Mapped[Status] = mapped_column(
        Enum(
            Status,
            values_callable=lambda s: [x.value for x in s],
            native_enum=False,
            length=20,
            create_constraint=False,
        ),
        default=Status.QUEUED,
    )
    stage: Mapped[str] = mapped_column(String(80), default="")  # what a running job does now, in words
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None] = mapped_column(Text)  # what the person should know of a run that went well
    error: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(String(20))  # why it did not succeed, in one of db.jobs.REASONS
    record: Mapped[dict[str, Any]] = mapped_column(default=dict)  # what it ran on: versions, base revision, device
    peak_bytes: Mapped[int | None] = mapped_column(BigInteger)  # most memory of the device while it trained
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    stop_requested: Mapped[bool] = mapped_column(default=False)  # train no further, but keep and measure
    lease_owner: Mapped[str | None] = mapped_column(String(80))
    attempt: Mapped[int] = mapped_column(default=0)  # times it was claimed
    losses: Mapped[int] = mapped_column(default=0)  # times its worker died with it
    lease_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]  # when the sweep last rang for a queued job
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Checkpoint(Base):
    """A checkpoint that a job wrote whole, with the hash of each of its files: only such a one is ever read."""

    __tablename__ = "checkpoints"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hashes: Mapped[dict[str, Any]]  # file name -> sha256
    created_at: Mapped[datetime] = mapped_column(default=now)


class Worker(Base):
    """What a worker process says of itself; gone workers are told by the age of `seen_at`."""

    __tablename__ = "workers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)  # as in a job's lease_owner
    host: Mapped[str] = mapped_column(String(255))
    device: Mapped[str] = mapped_column(String(120))  # the card's name, or cpu
    memory_bytes: Mapped[int] = mapped_column(BigInteger)  # of the device
    gpus: Mapped[int]  # devices that it may use together
    version: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))  # idle, busy, stopping, stopped
    job_id: Mapped[int | None] = mapped_column(ForeignKey("jobs.id"))
    started_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)


class Metric(Base):
    """One point of a curve: loss, learning_rate, tokens_per_second, ..."""

    __tablename__ = "metrics"
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float]


class Adapter(Base):
    """A trained adapter; its files lie in a folder named by `content_hash` and are never overwritten."""

    __tablename__ = "adapters"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id"), unique=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)  # versioned: never means other weights
    method: Mapped[str] = mapped_column(String(20))
    base_model: Mapped[str] = mapped_column(String(255))
    content_hash: Mapped[str] = mapped_column(String(64))
    parameters: Mapped[int] = mapped_column(BigInteger)  # counted on the trained model
    size_bytes: Mapped[int] = mapped_column(BigInteger)  # of adapter_model.safetensors
    dtype: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Score(Base):
    """One measured value with its interval. `adapter_id` is empty for the base model alone."""

    __tablename__ = "scores"
    __table_args__ = (UniqueConstraint("job_id", "subject", "benchmark", "metric"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    adapter_id: Mapped[int | None] = mapped_column(ForeignKey("adapters.id"))
    subject: Mapped[str] = mapped_column(String(10))  # adapter or base
    benchmark: Mapped[str] = mapped_column(String(40))  # held-out
    metric: Mapped[str] = mapped_column(String(40))  # loss, perplexity, exact_match, token_f1
    value: Mapped[float]
    n: Mapped[int]
    low: Mapped[float]  # 95 % interval
    high: Mapped[float]
    quantization: Mapped[str] = mapped_column(String(10))  # precision of the base when measured
    created_at: Mapped[datetime] = mapped_column(default=now)


class Serving(Base):
    """What the serving process says of itself; one row a process."""

    __tablename__ = "serving"
    id: Mapped[int] = mapped_column(primary_key=True)
    base_model: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(20))  # starting, ready, failed, stopped
    detail: Mapped[str] = mapped_column(Text, default="")
    updated_at: Mapped[datetime] = mapped_column(default=now)
