"""Jobs of several kinds that wait, go first, stop early and belong to batches; workers and checkpoints as rows."""

import sqlalchemy as sa
from alembic import op

revision = "003"
down_revision = "002"

# Column, its type, and what the jobs of before have in it; None where they have nothing.
JOB_COLUMNS = (
    ("kind", sa.String(length=20), "train"),
    ("batch_id", sa.Integer(), None),
    ("after_id", sa.Integer(), None),
    ("origin_id", sa.Integer(), None),
    ("priority", sa.Integer(), "0"),
    ("gpus", sa.Integer(), "1"),
    ("reason", sa.String(length=20), None),
    ("record", sa.JSON(), "{}"),
    ("peak_bytes", sa.BigInteger(), None),
    ("stop_requested", sa.Boolean(), sa.false()),
    ("losses", sa.Integer(), "0"),
)


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("grid", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["people.id"], name="fk_batches_owner_id_people"),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    _alter_jobs()
    op.create_table(
        "checkpoints",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_checkpoints_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "step", name="pk_checkpoints"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("device", sa.String(length=120), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_workers_job_id_jobs"),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
        sa.UniqueConstraint("name", name="uq_workers_name"),
    )


def _alter_jobs() -> None:
    with op.batch_alter_table("jobs") as jobs:
        for name, kind, before in JOB_COLUMNS:
            jobs.add_column(sa.Column(name, kind, nullable=before is None, server_default=before))
        jobs.create_foreign_key("fk_jobs_batch_id_batches", "batches", ["batch_id"], ["id"])
        jobs.create_foreign_key("fk_jobs_after_id_jobs", "jobs", ["after_id"], ["id"])
        jobs.create_foreign_key("fk_jobs_origin_id_jobs", "jobs", ["origin_id"], ["id"])
        jobs.drop_index("ix_jobs_status_id")
        jobs.create_index("ix_jobs_status_priority_id", ["status", "priority", "id"])
        jobs.create_index("ix_jobs_batch_id", ["batch_id"])
        jobs.create_index("ix_jobs_after_id", ["after_id"])
    with op.batch_alter_table("jobs") as jobs:
        for name, kind, before in JOB_COLUMNS:
            if before is not None:
                jobs.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)
