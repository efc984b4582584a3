"""What a person can do with jobs: start them, watch them, steer them."""

from app.services.jobs.choice import Choice, choice_of, fitted_choice, fresh
from app.services.jobs.details import Curve, Detail, Measure, curves, detail, log_tail
from app.services.jobs.lines import ALL, FINISHED, PAGE, Filter, JobError, Line, listing, now, total, unfinished
from app.services.jobs.starting import retry, start
from app.services.jobs.steering import cancel, later, sooner, stop_and_keep

__all__ = [
    "ALL",
    "FINISHED",
    "PAGE",
    "Choice",
    "Curve",
    "Detail",
    "Filter",
    "JobError",
    "Line",
    "Measure",
    "cancel",
    "choice_of",
    "curves",
    "detail",
    "fitted_choice",
    "fresh",
    "later",
    "listing",
    "log_tail",
    "now",
    "retry",
    "sooner",
    "start",
    "stop_and_keep",
    "total",
    "unfinished",
]
