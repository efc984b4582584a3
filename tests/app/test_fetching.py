"""The road of a hub's dataset from its name to a kept dataset; the hub is stood in for by fake_hub, on loopback."""

import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from app.pages import hub as form
from app.pages.datasets import fetch, keep_it
from app.pages.incoming import enter
from app.pages.report import head_html, preview_html
from app.services import datasets, fetching, uploads
from app.services.hub import Choices as Offer
from app.services.readers import FAILED, FETCHING, READY
from app.services.uploads import Upload
from db import files
from prolora.dataset import Choices
from prolora.errors import DatasetError
from tests.app.conftest import free_port, taken_in
from tests.app.fake_hub import COMMIT, ROW, TAGGED, fake_hub
from tests.app.test_uploads import PATIENCE, everything, readers, waited


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with fake_hub() as address:
        yield address


@pytest.fixture
def hub(studio: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a studio whose hub is the one at the address."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name, value in (("HF_ENDPOINT", address), ("HF_HUB_OFFLINE", "0"), ("HF_HOME", str(tmp_path / "home"))):
        monkeypatch.setenv(name, value)
    return monkeypatch


def fetched(name: str, split: str = "train") -> Upload:
    return fetching.begin(name, "default", split, COMMIT)


def told(name: str, revision: str = "") -> str:
    """What the form says of a name that cannot be looked up."""
    found, offer, *_, problem = form.look_up(name, revision)
    assert (found, offer.visible) == (None, False)
    return problem.value


def test_a_split_is_looked_up_fetched_read_and_kept_with_its_commit(hub, studio):
    found, offer, config, split, pinned, _ = form.look_up(" owner/plain ", "")
    assert found == Offer("owner/plain", COMMIT, {"default": ("train", "test")})
    assert (offer.visible, config.value, split.value, COMMIT[:12] in pinned) == (True, "default", "train", True)
    upload, _ = fetch(found, config.value, split.value, None)
    assert (uploads.progress(upload).state, uploads.latest()) == (FETCHING, upload)
    assert waited(upload).state == READY
    preview = uploads.preview(upload)
    assert f'owner/plain (default, train) at commit <code title="{COMMIT}">' in preview_html(preview)
    keep_it(upload, "")
    detail = datasets.detail(1)
    assert (detail.line.name, detail.line.source_name, detail.line.kept) == ("plain-train", "plain-train.jsonl", 3)
    assert files.dataset_source(detail.content_hash, "jsonl").read_bytes() == ROW * 3
    source = {"name": "owner/plain", "config": "default", "split": "train", "revision": COMMIT}
    assert detail.report["hub"] == source | {"files": ["train.jsonl"], "size": 3 * len(ROW)}
    assert "owner/plain (default, train)" in head_html(detail)
    assert not any(files.uploads_dir().iterdir())


def test_the_same_commit_again_is_known_before_it_is_fetched_and_after(hub):
    first = fetched("owner/plain")
    waited(first)
    kept = uploads.keep(first, "Plain")
    offer = Offer("owner/plain", COMMIT, {"default": ("train", "test")})
    assert "kept before as" in form.pinned_html(offer, "default", "train")
    assert "kept before as" not in form.pinned_html(offer, "default", "test")
    assert "kept before as" not in form.pinned_html(Offer("owner/plain", TAGGED, offer.splits), "default", "train")
    again = fetched("owner/plain")
    waited(again)
    assert uploads.preview(again).known == uploads.Known(kept.id, "Plain", same_rows=True)
    assert uploads.keep(again, "Again") == uploads.Kept(kept.id, new=False)


def test_a_fetched_file_that_is_read_anew_is_not_fetched_again_and_keeps_its_commit(hub):
    upload = fetched("owner/plain")
    waited(upload)
    hub.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    preview = uploads.preview(taken_in(upload, Choices(repairs=frozenset({"white-space"}))))
    assert (preview.report["hub"]["revision"], preview.choices.repairs) == (COMMIT, {"white-space"})


def test_a_fetch_that_is_given_up_ends_soon_and_leaves_nothing_though_the_hub_is_silent(hub, studio):
    upload = fetched("owner/stalled")
    end = time.monotonic() + PATIENCE
    while not (progress := uploads.progress(upload)).done:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (progress.state, progress.size) == (FETCHING, 10_000 * len(ROW))
    assert 0 < progress.done < 1
    _, words, asked, *_, report, timer = enter(upload)
    assert "Fetching owner/stalled:" in words
    assert (asked.visible, report, timer.active) == (False, "", True)  # nothing of an upload before it
    uploads.discard(upload)
    while readers(upload) or everything(studio):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert uploads.latest() is None


def test_a_file_that_is_cut_off_is_said_and_nothing_of_it_stays(hub):
    upload = fetched("owner/short")
    progress = waited(upload)
    assert (progress.state, "did not come as announced" in progress.error) == (FAILED, True)
    assert not any(files.upload_dir(upload.key).iterdir())
    with pytest.raises(DatasetError, match="has not been fetched"):
        uploads.renew(upload, Choices())


def test_a_split_that_is_too_large_is_refused_before_it_is_fetched(hub):
    hub.setenv("STUDIO_MAX_UPLOAD_MB", "0")
    progress = waited(fetched("owner/plain"))
    assert (progress.state, "the studio takes 0 MB" in progress.error) == (FAILED, True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("owner/gated", "owner/gated is gated. Accept its terms on its page on the hub; then set HF_TOKEN"),
        ("owner/scripted", "the studio runs no code of a dataset"),
        ("owner/none", "The hub has no dataset owner/none"),
    ],
)
def test_what_the_hub_does_not_give_is_said_beside_the_form(hub, name, reason):
    assert reason in told(name)


def test_a_hub_that_is_not_there_is_said_beside_the_form(hub):
    hub.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    assert "The hub cannot be reached for owner/plain" in told("owner/plain")


@pytest.mark.parametrize(
    "name", ["", "/etc", "../etc", "~/data", "http://10.0.0.1/a", "10.0.0.1:80/a", "owner/name?x", "o/" + "n" * 200]
)
def test_only_names_of_a_hub_are_asked_for_and_no_folder_of_the_machine(studio, name):
    assert "is no name of a dataset" in told(name)
    with pytest.raises(DatasetError, match="is no name of a dataset"):
        fetching.begin(name, "default", "train", COMMIT)
    assert everything(studio) == []


def test_a_folder_is_not_taken_from_the_page_though_it_is_there(studio, tmp_path):
    (tmp_path / "train.jsonl").write_bytes(ROW)
    assert "is no name of a dataset" in told(str(tmp_path))


def test_markup_in_a_name_is_shown_as_text(studio):
    assert "&lt;img" in told("<img src=x>")


@pytest.mark.parametrize("revision", ["-x", "a b", "main?x", "\0", "x" * 201])
def test_a_revision_is_a_branch_a_tag_or_a_commit(studio, revision):
    assert "is no revision" in told("owner/plain", revision)


def test_what_is_fetched_is_pinned_and_chosen(studio):
    with pytest.raises(DatasetError, match="is no full commit"):
        fetching.begin("owner/plain", "default", "train", "main")
    with pytest.raises(gr.Error, match="Choose which config and which split"):
        fetch(Offer("owner/plain", COMMIT, {"default": ("test",)}), "default", None, None)
    assert uploads.latest() is None


def test_test_items_are_offered_but_not_chosen_by_themselves(studio):
    split, _ = form.choose_config(Offer("owner/plain", COMMIT, {"default": ("test",)}), "default")
    assert ([value for _, value in split.choices], split.value) == (["test"], None)
