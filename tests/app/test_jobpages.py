"""The pages of jobs, batches and workers as HTML, and in a browser over restarts."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.__main__ import answers
from app.pages import gauges, jobfilters
from app.pages import jobs as page
from app.services import jobs
from db import files
from db import jobs as rows
from db.jobs import Lease
from db.models import Metric, Status
from db.session import session
from tests.app.conftest import free_port
from tests.test_road import CHROMIUM, ROOT


@pytest.fixture
def running(choice) -> Lease:
    """A job in the middle of its training, with a log and curves."""
    (job_id,) = jobs.start(replace(choice, twin=False))
    with session() as s:
        lease = rows.claim(s, job_id, "somebody")
        assert lease is not None
        rows.progress(s, lease, step=40, total_steps=80, stage="Training")
        s.add_all(Metric(job_id=job_id, name="loss", step=step, value=2 - step / 40) for step in range(1, 41))
        s.add_all(Metric(job_id=job_id, name="validation_loss", step=step, value=2.5) for step in (20, 40))
        s.add(Metric(job_id=job_id, name="memory", step=40, value=3 * 2**30))
    files.job_log(job_id).write_text("step 40: loss 1.0\n")
    return lease


def test_curves_are_drawn_again_only_when_there_are_new_points(running):
    view = jobfilters.View(jobs.ALL, 1)
    at = page.Live._fields.index
    first = page.show(running.job_id, view, None)
    assert [curve.name for curve in first[at("plot")].data] == [
        f"PRoLoRA, job {running.job_id}",
        f"PRoLoRA, job {running.job_id}, held out",
    ]
    assert "3.00" in first[at("gauges")]
    again = page.show(running.job_id, view, first[at("drawn")])
    assert (again[at("plot")], again[at("gauges")]) == (first[0], first[0])  # both are left as they are
    with session() as s:
        rows.progress(s, running, step=41, metrics={"loss": 0.9})
    assert len(page.show(running.job_id, view, again[at("drawn")])[at("plot")].data[0].x) == 41


@pytest.mark.parametrize(
    ("reason", "way"),
    [
        ("out-of-memory", "&amp;fit=1"),
        ("lost", "&amp;fit=1"),
        ("diverged", "Clone with changes"),
        ("error", "log below"),
    ],
)
def test_a_failure_says_what_to_do(running, reason, way):
    with session() as s:
        rows.move(s, running, Status.FAILED, "It <failed>.", reason)
    html = page.head_html(jobs.detail(running.job_id))
    assert "It &lt;failed&gt;." in html
    assert way in html


def test_a_filter_is_its_address_and_its_fields_are_escaped():
    view = jobfilters.View(jobs.Filter(state="failed", text='"><script>'), 2)
    assert view.address(3) == "/jobs?state=failed&text=%22%3E%3Cscript%3E&page=3"
    assert "51–100 of 120" in jobfilters.pager(view, 120).replace("\u202f", "")
    assert jobfilters.pager(jobfilters.View(jobs.ALL, 1), 50) == ""


def test_a_learning_rate_is_written_as_people_write_it():
    assert [gauges.rate(value) for value in (3e-4, 0.00025, 1.0)] == ["3e-4", "2.5e-4", "1e0"]


class Web:
    """The web process alone, on an address that it keeps."""

    def __init__(self, data: Path) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.env = {
            **os.environ,
            "STUDIO_DATA": str(data),
            "STUDIO_PORT": str(port),
            "STUDIO_REDIS_URL": "redis://127.0.0.1:1/0",
        }

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.main"], env=self.env, cwd=ROOT, stderr=subprocess.DEVNULL
        )
        while not answers(self.address):
            assert self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def web(studio: Path) -> Iterator[Web]:
    started = Web(studio)
    started.start()
    yield started
    started.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        yield browser
        browser.close()


def opened(browser: Browser, address: str) -> Page:
    opened_page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    opened_page.goto(address)
    return opened_page


def seen(opened_page: Page) -> tuple[str, str, int, str]:
    """What a person can tell of the job: state and step, the numbers, the points of its curves, and the log."""
    expect(opened_page.locator("#loss .js-plotly-plot")).to_be_visible(timeout=30_000)
    opened_page.locator("#log-fold button").first.click()
    expect(opened_page.locator("#log textarea")).to_have_value(re.compile("step 4"))
    points = opened_page.evaluate("document.querySelector('#loss .js-plotly-plot').data[0].x.length ?? 0")
    numbers = opened_page.locator("#job-gauges").inner_text()
    words = opened_page.locator("#job-head .live small").first.inner_text()
    return words, numbers, points, opened_page.locator("#log textarea").input_value()


def test_a_running_job_looks_the_same_in_a_second_browser_and_after_browser_and_web_process_are_gone(
    running: Lease, web: Web, browser: Browser
) -> None:
    address = f"{web.address}/jobs?id={running.job_id}"
    first, second = opened(browser, address), opened(browser, address)
    before = seen(first)
    assert "step 40 of 80" in before[0]
    assert seen(second) == before
    first.context.close()
    second.context.close()
    web.kill()
    web.start()
    third = opened(browser, address)
    assert seen(third) == before
    with session() as s:
        rows.progress(s, running, step=41, metrics={"loss": 0.5})
    expect(third.locator("#job-head .live small").first).to_contain_text("step 41 of 80")
    expect(third.locator("#job-gauges")).to_contain_text("0.500")
    third.locator("#stop").click()
    expect(third.locator("#job-head")).to_contain_text("Stops here and keeps the adapter")
    with session() as s:
        assert rows.wishes(s, running).stop
    third.context.close()


def test_a_copy_opens_the_wizard_filled_and_a_sweep_is_counted_before_it_starts(
    running: Lease, web: Web, browser: Browser
) -> None:
    wizard = opened(browser, f"{web.address}/jobs?id={running.job_id}")
    wizard.locator("#clone").click()
    expect(wizard.locator("#copied")).to_contain_text(f"settings of job {running.job_id}", timeout=30_000)
    expect(wizard.locator("#learning-rate input")).to_have_value("0.003")
    expect(wizard.locator("#rail")).to_contain_text("(32, 4, 7, 7)")
    wizard.locator("#sweep button").first.click()
    wizard.locator("#sweep-seeds textarea, #sweep-seeds input").first.fill("1-3")
    expect(wizard.locator("#sweep-size")).to_contain_text("3 seeds = 3 jobs in one batch")
    wizard.locator("#start").click()
    expect(wizard.locator("#started .done")).to_contain_text("All 3 jobs are queued. No worker is there now.")
    wizard.get_by_role("link", name="Watch the batch").click()
    expect(wizard.locator("#batch-table tbody tr")).to_have_count(3)
    assert [line.seed for line in jobs.listing()][:3] == [3, 2, 1]
    wizard.goto(f"{web.address}/jobs")
    wizard.locator("select[name=state]").select_option("running")
    expect(wizard.locator("#jobs-table tbody tr")).to_have_count(1)
    assert wizard.url.endswith("/jobs?state=running")
    wizard.context.close()
