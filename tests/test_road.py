"""The whole road in a real browser: upload, plan, train both, compare, chat, download, and use elsewhere."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.conftest import free_port
from tests.app.test_launcher import wait_until_gone

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "static" / "samples" / "tickets.jsonl"
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
QUESTION = "Hello, Nora here. Order 48213: the copper kettle is damaged."
TICKET = {"intent": "broken", "order": "48213", "item": "copper kettle", "name": "Nora"}
MINUTE = 60_000  # milliseconds


@dataclass(frozen=True)
class Studio:
    address: str
    data: Path
    env: dict[str, str]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """What `make studio` starts, on a data folder and ports of its own."""
    data, port = tmp_path_factory.mktemp("road") / "data", free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")} | {
        "STUDIO_DATA": str(data),
        "STUDIO_PORT": str(port),
        "STUDIO_SERVE_PORT": str(free_port()),
        "STUDIO_SERVE_KEY": "of-this-test",
    }
    process = subprocess.Popen([sys.executable, "-m", "app"], env=env, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert f"http://127.0.0.1:{port}" in process.stdout.readline()
    yield Studio(f"http://127.0.0.1:{port}", data, env)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert wait_until_gone(str(data), 5) == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, studio: Studio) -> Iterator[Page]:
    """A fresh browser window, 1,440 pixels wide; what the page complains of fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, base_url=studio.address)
    page = context.new_page()
    page.set_default_timeout(30_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []


def show(page: Page, name: str) -> None:
    """Keep a picture of the page where somebody asked for pictures."""
    if folder := os.environ.get("ROAD_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def sample_with_faults(folder: Path) -> Path:
    """The sample under field names that nobody guesses, and two rows that cannot be used."""
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    lines = [json.dumps({"mail": row["instruction"], "ticket": row["output"]}) for row in rows]
    lines[47:47] = ['{"mail": "Where is my order?", "ticket": ""}', '{"mail": "Where is']
    path = folder / "shop mail.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def choose(page: Page, picker: str, wanted: str) -> None:
    page.locator(f"#{picker} input").click()
    page.get_by_role("option", name=re.compile(wanted)).first.click()


@pytest.fixture(scope="module")
def job_ids() -> list[int]:
    """The jobs that the first stretch of the road queues, for those behind it."""
    return []


def test_an_uploaded_file_is_mapped_by_hand_and_its_bad_rows_are_named(page: Page, tmp_path: Path) -> None:
    page.goto("/datasets")
    page.locator("#upload input[type=file]").set_input_files(sample_with_faults(tmp_path))
    expect(page.locator("#dataset-part-1")).to_be_visible()
    choose(page, "dataset-part-1", "^mail")
    choose(page, "dataset-part-3", "^ticket")
    report = page.locator("#report")
    expect(report).to_contain_text("Line 48 ")
    expect(report).to_contain_text("Line 49 ")
    expect(report).to_contain_text("480")
    show(page, "datasets-upload")
    page.locator("#keep").click()
    expect(page.locator("#kept .done")).to_be_visible()
    show(page, "datasets")
    page.goto("/datasets?id=1")
    expect(page.locator("#dataset")).to_contain_text("<|assistant|>")
    show(page, "dataset")


def test_a_person_plans_and_queues_both(page: Page, job_ids: list[int]) -> None:
    page.goto("/wizard?dataset=1")
    expect(page.locator("#rail")).to_contain_text("shop mail")
    show(page, "wizard-data")
    page.locator("#to-base").click()
    expect(page.locator("#to-budget")).to_be_visible()
    show(page, "wizard-base")
    page.locator("#to-budget").click()
    expect(page.locator("#suggestions")).to_contain_text("(32, 4, 7, 7)")
    expect(page.locator("#offer")).to_contain_text("LoRA")
    show(page, "wizard-budget")
    page.locator("#to-train").click()
    expect(page.locator("#start")).to_have_text("Train both")
    show(page, "wizard-train")
    page.locator("#start").click()
    done = page.locator("#started .done")
    expect(done).to_be_visible()
    job_ids.extend(int(part) for part in str(done.get_attribute("data-jobs")).split(","))
    assert len(job_ids) == 2


def test_a_budget_below_every_setting_gets_a_sentence(page: Page) -> None:
    page.goto("/wizard?dataset=1")
    expect(page.locator("#rail")).to_contain_text("shop mail")  # until then there is no dataset to go on with
    page.locator("#to-base").click()
    page.locator("#to-budget").click()
    page.locator("#budget textarea, #budget input").first.fill("12")
    expect(page.locator("#offer")).to_contain_text(re.compile("smallest", re.IGNORECASE))
    show(page, "wizard-small-budget")


def test_the_job_is_seen_live_after_the_browser_was_closed(page: Page, browser: Browser, job_ids: list[int]) -> None:
    page.goto(f"/jobs?id={job_ids[0]}")
    expect(page.locator("[data-status=running]")).to_be_visible(timeout=MINUTE)
    page.close()
    again = browser.new_context(
        viewport={"width": 1440, "height": 1000}, base_url=page.url.split("/jobs")[0]
    ).new_page()
    again.goto(f"/jobs?id={job_ids[0]}")
    expect(again.locator("#loss .js-plotly-plot")).to_be_visible(timeout=2 * MINUTE)
    show(again, "job-running")
    expect(again.locator("[data-status=succeeded]")).to_be_visible(timeout=5 * MINUTE)
    again.goto(f"/jobs?id={job_ids[1]}")
    expect(again.locator("[data-status=succeeded]")).to_be_visible(timeout=5 * MINUTE)
    show(again, "job-done")
    again.context.close()


def test_both_learned_what_the_base_cannot_do(page: Page, studio: Studio, job_ids: list[int]) -> None:
    page.goto("/leaderboard")
    expect(page.locator("#board tbody tr")).to_have_count(2)
    expect(page.locator("#pareto .js-plotly-plot")).to_be_visible()
    show(page, "leaderboard")
    for job_id in job_ids:
        scores = {(row["subject"], row["metric"]): row["value"] for row in scores_of(studio, job_id)}
        assert scores["base", "exact_match"] <= 0.1
        assert scores["adapter", "exact_match"] >= 0.8
        assert scores["adapter", "loss"] < scores["base", "loss"]


def scores_of(studio: Studio, job_id: int) -> list[dict[str, float]]:
    import sqlite3

    with sqlite3.connect(studio.data / "studio.db") as rows:
        rows.row_factory = sqlite3.Row
        return [dict(row) for row in rows.execute("SELECT * FROM scores WHERE job_id = ?", (job_id,))]


def test_two_adapters_answer_side_by_side(page: Page) -> None:
    page.goto("/playground")
    expect(page.locator("[data-state=ready]")).to_be_visible(timeout=3 * MINUTE)
    page.locator("#prompt textarea").fill(QUESTION)
    page.locator("#send").click()
    for side in ("left", "right"):
        expect(page.locator(f"#stats-{side} [data-done=true]")).to_be_visible(timeout=MINUTE)
        expect(page.locator(f"#chat-{side}")).to_contain_text(json.dumps(TICKET))
    show(page, "playground")
    choose(page, "pick-right", "without an adapter")
    page.locator("#clear").click()
    page.locator("#prompt textarea").fill(QUESTION)
    page.locator("#send").click()
    expect(page.locator("#stats-right [data-done=true]")).to_be_visible(timeout=MINUTE)
    expect(page.locator("#chat-left")).to_contain_text(json.dumps(TICKET))
    expect(page.locator("#chat-right")).to_contain_text("I am sorry, Nora. A new copper kettle will be sent")


STREAMS = """
import asyncio, sys
from app.services.chat import Options, Turn, models, stream_pair

async def main():
    names = [model.name for model in models() if model.method]
    ask = ({"role": "user", "content": sys.argv[1]},)
    lengths = []
    async for left, right in stream_pair(Turn(names[0], ask), Turn(names[1], ask), Options(max_tokens=60)):
        lengths.append((len(left.text), len(right.text)))
        assert not (left.error or right.error), (left.error, right.error)
    print(lengths)

asyncio.run(main())
"""


def test_the_two_streams_overlap(studio: Studio) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STREAMS, QUESTION], env=studio.env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    lengths = json.loads(done.stdout.replace("(", "[").replace(")", "]"))
    ends = [max(column) for column in zip(*lengths, strict=True)]
    growing = [pair for pair in lengths if 0 < pair[0] < ends[0] and 0 < pair[1] < ends[1]]
    assert len(growing) >= 5, lengths


def test_the_downloads_load_elsewhere_and_answer_alike(page: Page, studio: Studio, tmp_path: Path) -> None:
    page.goto("/adapters")
    show(page, "adapters")
    adapter = page.locator("a[href$='expanded.zip']").last.get_attribute("href")
    folders = {}
    for kind in ("compact", "expanded"):
        with page.expect_download() as download:
            page.locator(f"a[href='{str(adapter).replace('expanded', kind)}']").first.click()
        download.value.save_as(tmp_path / f"{kind}.zip")
        with zipfile.ZipFile(tmp_path / f"{kind}.zip") as archive:
            archive.extractall(tmp_path / kind)
        folders[kind] = next((tmp_path / kind).rglob("adapter_config.json")).parent
        assert any(path.name == "README.md" for path in (tmp_path / kind).rglob("*"))
    assert json.loads((folders["expanded"] / "adapter_config.json").read_text())["peft_type"] == "LORA"
    answers = {kind: answer_with_peft(folder, register=kind == "compact") for kind, folder in folders.items()}
    assert json.loads(answers["expanded"]) == TICKET
    assert answers["compact"] == answers["expanded"]


PLAIN_PEFT = """
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, question = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**prompt, max_new_tokens=80, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
"""


def answer_with_peft(adapter: Path, register: bool) -> str:
    """In a process of its own, which knows of PRoLoRA only where it is told."""
    script = ("import prolora.peft\n" if register else "") + PLAIN_PEFT
    command = [sys.executable, "-c", script, str(ROOT / "static" / "demo-base"), str(adapter), QUESTION]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
