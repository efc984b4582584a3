"""The queue: a doorbell that carries a job's id. What is to be done, and for whom, SQL alone knows."""

import logging
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from db.settings import settings

JOBS = "jobs"
RUN_JOB = "run_job"
MOST_WAITING = 100  # bells; more workers than that are not to be woken at once
log = logging.getLogger(__name__)


def enqueue(job_id: int) -> None:
    """Ring for a job that is committed. An unheard bell is not an error: the sweep rings again."""
    try:
        queue.send_task(RUN_JOB, args=[job_id], queue=JOBS)
    except OperationalError as error:
        log.warning("job %s is queued, but the broker does not answer: %s", job_id, error)


def ring_again(job_ids: Sequence[int]) -> None:
    """Ring for jobs that seem unheard, while few bells wait: one wakes a worker, which takes all that is ready.

    Else a queue that is long for days would fill the broker with bells for the same jobs.
    """
    if not job_ids:
        return
    try:
        with queue.connection_for_write() as connection:
            waiting = connection.default_channel.queue_declare(queue=JOBS).message_count
    except (OperationalError, OSError) as error:
        log.warning("queued jobs wait (%s), but the broker does not answer: %s", len(job_ids), error)
        return
    for job_id in job_ids[: max(MOST_WAITING - waiting, 0)]:
        enqueue(job_id)


def _configuration() -> dict[str, Any]:
    url = settings().redis_url
    if not url:
        raise RuntimeError("STUDIO_REDIS_URL is not set: start the studio with `make studio`, or name a Redis server.")
    return {
        "broker_url": url,
        # A worker waits for its broker for as long as it takes, before the first connection and after any other.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A page waits for a dead broker no longer than this.
        "broker_transport_options": {"socket_connect_timeout": 2, "max_retries": 1},
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2},
        # No task is created for a queue that nobody reads, and nothing but JSON is read.
        "task_queues": [Queue(JOBS)],
        "task_default_queue": JOBS,
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        # Acknowledged on arrival: what happens then is the lease's matter. A long task
        # acknowledged late would be delivered again and again.
        "task_acks_late": False,
        "task_ignore_result": True,
        "result_backend": None,
        "worker_disable_prefetch": True,  # else a busy worker keeps a job from an idle one
        "worker_hijack_root_logger": False,
    }


queue = Celery("studio")
queue.add_defaults(_configuration)  # read when first used, not when imported
