import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gradio as gr
import psutil
import pytest

from app.pages import incoming
from app.pages.datasets import use_sample
from app.pages.report import preview_html
from app.services import datasets, uploads
from app.services.readers import FAILED, READY, UNDER_WAY
from app.services.uploads import Upload
from db import files
from prolora.dataset import Choices, Mapping, read_rows
from prolora.errors import DatasetError
from tests.app.conftest import taken_in

ROWS = [{"question": f"How much is {i} + {i}?", "answer": f"{2 * i}"} for i in range(30)]
PATIENCE = 30.0


def written(folder: Path, text: str, name: str = "sums.jsonl") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def jsonl(rows: list[dict[str, str]]) -> str:
    return "\n".join(map(json.dumps, rows))


def arrived(folder: Path, text: str, name: str = "sums.jsonl", choices: Choices | None = None) -> Upload:
    return taken_in(uploads.receive(written(folder, text, name), name), choices)


def everything(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for sub in ("datasets", "uploads") for path in (folder / sub).rglob("*")
    )


def waited(upload: Upload) -> uploads.Progress:
    end = time.monotonic() + PATIENCE
    while (progress := uploads.progress(upload)).state in UNDER_WAY:
        assert time.monotonic() < end
        time.sleep(0.05)
    return progress


def test_good_rows_are_kept_and_bad_ones_listed_with_their_lines(studio, tmp_path):
    text = jsonl(ROWS[:3]) + '\n{"question": "x"}\nnot json\n' + jsonl(ROWS[3:])
    upload = arrived(tmp_path, text)
    preview = uploads.preview(upload)
    assert (preview.report["kept"], preview.report["rejected"]) == (30, 2)
    assert preview.report["reasons"] == {"no-answer": 1, "not-json": 1}
    assert [reject.line for reject in preview.rejects] == [4, 5]
    kept = uploads.keep(upload, "Sums")
    detail = datasets.detail(kept.id)
    assert (detail.line.kept, detail.line.rejected, detail.line.held_out) == (30, 2, preview.report["held_out"])
    assert [reject.line for reject in detail.rejects] == [4, 5]
    assert len(read_rows(files.dataset_rows(detail.content_hash))) == 30
    assert files.dataset_source(detail.content_hash, "jsonl").read_text() == text
    path, name = datasets.originals_file(kept.id)
    assert (path.read_text(), name) == ('{"question": "x"}\nnot json\n', "sums-rejects.jsonl")
    assert not any(files.uploads_dir().iterdir())


def test_a_file_that_was_never_kept_gives_way_to_the_next(studio):
    first = use_sample(None)[0]
    second = use_sample(first)[0]
    assert uploads.latest() == second
    waited(second)
    assert [path.name for path in files.uploads_dir().iterdir()] == [second.key]


def test_the_same_rows_again_are_the_same_dataset(studio, tmp_path):
    first = uploads.keep(arrived(tmp_path, jsonl(ROWS), "a.jsonl"), "A")
    again = uploads.keep(arrived(tmp_path, jsonl(ROWS), "b.jsonl"), "B")
    assert (first.new, again.new) == (True, False)
    assert first.id == again.id
    assert [line.name for line in datasets.listing()] == ["A"]


@pytest.mark.parametrize("lost", [Path(), Path("rows.jsonl")])
def test_a_dataset_that_has_lost_its_rows_says_so_and_is_whole_again_with_its_file(studio, tmp_path, lost):
    kept = uploads.keep(arrived(tmp_path, jsonl(ROWS)), "Sums")
    folder = files.dataset_dir(datasets.detail(kept.id).content_hash)
    (folder / lost).rename(tmp_path / "lost")
    for look in (datasets.detail, datasets.open_rows):
        with pytest.raises(DatasetError, match="The rows of “Sums” are gone or damaged"):
            look(kept.id)
    again = uploads.keep(arrived(tmp_path, jsonl(ROWS)), "Again")
    assert (again.id, again.new) == (kept.id, False)
    assert len(datasets.open_rows(kept.id)) == len(ROWS)
    assert datasets.rejects_file(kept.id).is_file()


def test_rejects_that_are_gone_and_an_index_that_is_cut_off_get_a_sentence(studio, tmp_path):
    kept = uploads.keep(arrived(tmp_path, jsonl(ROWS)), "Sums")
    digest = datasets.detail(kept.id).content_hash
    files.dataset_rejects(digest).unlink()
    for look in (datasets.rejects_file, datasets.detail):
        with pytest.raises(DatasetError, match="The rejects of “Sums” are gone"):
            look(kept.id)
    os.truncate(files.dataset_rows(digest).with_suffix(".npy"), 100)
    with pytest.raises(DatasetError, match="gone or damaged"):
        datasets.open_rows(kept.id)


def test_a_file_that_was_kept_before_is_said_to_be_known_by_its_bytes(studio, tmp_path):
    text = jsonl([{"instruction": " Why? ", "output": "So."}, {"instruction": "How?", "output": "Thus."}])
    first = uploads.keep(arrived(tmp_path, text), "As it was")
    alike = uploads.preview(arrived(tmp_path, text, "other name.jsonl"))
    mended = uploads.preview(arrived(tmp_path, text, choices=Choices(repairs=frozenset({"white-space"}))))
    assert alike.known == uploads.Known(first.id, "As it was", same_rows=True)
    assert mended.known == uploads.Known(first.id, "As it was", same_rows=False)
    assert "was kept before as" in preview_html(alike)
    assert uploads.preview(arrived(tmp_path, text + "\n")).known == alike.known  # other bytes, the same rows


def test_repairs_are_offered_counted_and_undone_by_reading_anew(studio, tmp_path):
    text = jsonl([{"instruction": " Why? ", "output": "So."}, {"instruction": "How?", "output": "Thus."}])
    upload = arrived(tmp_path, text)
    assert uploads.preview(upload).report["offered"] == {"white-space": 1}
    taken_in(upload, Choices(repairs=frozenset({"white-space"})))
    preview = uploads.preview(upload)
    assert (preview.report["repaired"], preview.report["offered"]) == ({"white-space": 1}, {})
    assert preview.choices.repairs == {"white-space"}
    taken_in(upload)
    assert uploads.preview(upload).report["repaired"] == {}
    assert [path.name for path in files.upload_dir(upload.key).iterdir() if path.is_dir()] == ["read-4"]


def test_fields_of_other_names_are_mapped_by_hand(studio, tmp_path):
    upload = arrived(tmp_path, jsonl([{"q": "Why?", "a": "So."}, {"q": "How?", "a": "Thus."}]), "x.jsonl")
    preview = uploads.preview(upload)
    assert preview.mapping is None
    assert "Why?" in preview_html(preview)  # the rows as they came, to choose by
    taken_in(upload, Choices(Mapping("prompt-completion", {"prompt": "q", "completion": "a"})))
    preview = uploads.preview(upload)
    assert preview.report["kept"] == 2
    assert "So.</s>" in [text.strip() for text, trained in preview.samples[0] if trained]


def test_text_of_the_file_is_escaped_on_the_page(studio, tmp_path):
    rows = [{"instruction": "<b>bold</b>", "output": "<script>alert(1)</script>"}, {"instruction": "x", "output": "y"}]
    html = preview_html(uploads.preview(arrived(tmp_path, jsonl(rows), "x.jsonl")))
    assert "<script>" not in html
    assert '<mark class="trained">&lt;script&gt;' in html


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", ""), ("a.json", "{"), ("a.json", "[]"), ("a.jsonl", "\x00\x01")]
)
def test_a_file_that_is_no_dataset_is_refused_and_leaves_nothing(studio, tmp_path, name, text):
    upload = arrived(tmp_path, text, name)
    assert uploads.progress(upload).state == FAILED
    with pytest.raises(DatasetError, match=name.replace(".", r"\.")):
        uploads.keep(upload, "x")
    uploads.discard(upload)
    assert everything(studio) == []
    assert datasets.listing() == []


def test_a_file_of_another_kind_is_refused_by_its_name(studio, tmp_path):
    with pytest.raises(DatasetError, match=r"\.csv, \.tsv"):
        uploads.receive(written(tmp_path, "a,b", "x.xlsx"), "x.xlsx")
    assert uploads.latest() is None


def test_a_table_says_how_it_was_understood(studio, tmp_path):
    preview = uploads.preview(arrived(tmp_path, "frage;antwort\n007;1.10\n", "x.csv"))
    assert preview.report["evidence"] == [
        "2 fields divided by semicolons: CSV.",
        "The first row names them: frage, antwort.",
    ]
    assert "semicolons" in preview_html(preview)


def test_a_guessed_encoding_must_be_confirmed_before_a_dataset_is_kept(studio, tmp_path):
    path = tmp_path / "cafe.csv"
    path.write_bytes("instruction,output\nOù?,Au café.\nQui?,Zoé.\n".encode("cp1252"))
    upload = taken_in(uploads.receive(path, path.name))
    preview = uploads.preview(upload)
    assert (preview.unconfirmed, preview.report["encoding"]) == (True, "cp1252")
    assert "special characters right below" in preview_html(preview)
    with pytest.raises(DatasetError, match="cp1252 is a guess"):
        uploads.keep(upload, "x")
    taken_in(upload, Choices(encoding="cp1252"))
    assert "Au café." in json.dumps(uploads.preview(upload).samples, ensure_ascii=False)
    assert uploads.keep(upload, "Café").new


def test_a_guess_is_confirmed_by_choosing_it_on_the_page_even_while_the_file_is_read(studio, tmp_path):
    path = tmp_path / "menu.csv"
    path.write_bytes("instruction,output\nOù?,Au café.\nQui?,Zoé.\n".encode("cp1252"))
    upload = taken_in(uploads.receive(path, "menu.csv"))
    fields = ("instruction", "", "output", "", "")
    incoming.read_anew(upload, "alpaca", None, [], *fields)
    waited(upload)
    assert uploads.preview(upload).unconfirmed
    uploads.renew(upload, Choices())  # under way
    incoming.read_anew(upload, "alpaca", "cp1252", [], *fields)
    waited(upload)
    assert uploads.preview(upload).choices.encoding == "cp1252"
    assert uploads.keep(upload, "").new


def test_an_encoding_that_the_bytes_tell_is_no_choice_of_the_person_even_while_the_file_is_read(studio, tmp_path):
    upload = arrived(tmp_path, jsonl(ROWS))
    assert (uploads.overruled(upload, "utf-8"), uploads.overruled(upload, "cp1251")) == (None, "cp1251")
    uploads.renew(upload, Choices())
    assert (uploads.overruled(upload, "utf-8"), uploads.overruled(upload, "cp1251")) == (None, "cp1251")


def test_a_name_that_a_person_has_written_stays_when_the_file_is_read_anew(studio, tmp_path):
    upload = arrived(tmp_path, jsonl(ROWS))
    name = 3  # its place in the panel
    assert incoming.enter(upload)[name] == "sums"
    assert incoming.look(upload, "Mine")[name] == gr.skip()
    uploads.renew(upload, Choices())
    assert incoming.enter(upload)[name] == ""


def test_an_upload_that_was_left_in_another_window_is_told_once_and_no_longer_asked_after(studio, tmp_path):
    upload = arrived(tmp_path, jsonl(ROWS))
    uploads.renew(upload, Choices())
    panel = incoming.look(upload, "")
    assert panel[-1].active
    uploads.discard(upload)
    panel = incoming.look(upload, "")
    assert "This upload is gone" in panel[1]
    assert (panel[2].visible, panel[-1].active) == (False, False)


def test_after_a_choice_that_fails_another_can_be_made(studio, tmp_path):
    upload = arrived(tmp_path, jsonl(ROWS))
    fields = ("question", "", "answer", "", "")
    incoming.read_anew(upload, "alpaca", "utf-16-le", [], *fields)
    assert waited(upload).state == FAILED
    asked = 2  # the place of the controls in the panel
    assert incoming.look(upload, "")[asked] == gr.skip()
    assert not incoming.enter(upload)[asked].visible  # where none of them has been filled yet
    incoming.read_anew(upload, "alpaca", "utf-8", [], *fields)
    assert waited(upload).state == READY


@pytest.mark.parametrize("name", [".jsonl", "..jsonl"])
def test_a_file_whose_name_is_only_an_ending_can_be_kept(studio, tmp_path, name):
    kept = uploads.keep(arrived(tmp_path, jsonl(ROWS), name), "")
    assert datasets.detail(kept.id).line.name == "rows"


def test_rows_that_are_all_bad_are_not_kept(studio, tmp_path):
    upload = arrived(tmp_path, '{"instruction": "", "output": ""}\n', "x.jsonl")
    with pytest.raises(DatasetError, match="No row"):
        uploads.keep(upload, "x")
    assert not (studio / "datasets").exists()


def test_a_file_name_cannot_lead_out_of_the_uploads(studio, tmp_path):
    upload = uploads.receive(written(tmp_path, jsonl(ROWS)), "../../../evil.jsonl")
    assert upload.name == "evil.jsonl"


def test_a_file_is_read_in_a_process_of_its_own_with_its_progress_in_the_database(studio, tmp_path):
    upload = uploads.receive(written(tmp_path, jsonl(ROWS)), "sums.jsonl")
    uploads.begin(upload)
    progress = waited(upload)
    assert (progress.state, progress.done, progress.rows) == (READY, 1.0, 30)


def long_read(folder: Path, rows: int = 400_000) -> Upload:
    path = folder / "long.csv"
    path.write_text("instruction,output\n" + "What is asked here?,This is answered here.\n" * rows)
    upload = uploads.receive(path, path.name)
    uploads.begin(upload)
    end = time.monotonic() + PATIENCE
    while not uploads.progress(upload).rows:
        assert time.monotonic() < end
        time.sleep(0.05)
    return upload


def readers(upload: Upload) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if each.is_running() and upload.key in " ".join(cmdline(each))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_reading_that_is_given_up_ends_soon_and_leaves_nothing(studio, tmp_path):
    upload = long_read(tmp_path)
    assert 0 < uploads.progress(upload).done < 1
    uploads.discard(upload)
    end = time.monotonic() + PATIENCE
    while readers(upload):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert everything(studio) == []
    with pytest.raises(DatasetError, match="gone"):
        uploads.progress(upload)


def test_a_reader_that_is_killed_leaves_a_sentence(studio, tmp_path):
    upload = long_read(tmp_path)
    [os.kill(each.pid, signal.SIGKILL) for each in readers(upload) if "app.tether" not in cmdline(each)]
    progress = waited(upload)
    assert (progress.state, "stopped in the middle" in (progress.error or "")) == (FAILED, True)


def test_a_full_disk_fails_the_reading_with_a_sentence_and_leaves_nothing_of_it(studio, tmp_path):
    upload = uploads.receive(written(tmp_path, jsonl(ROWS * 1000)), "sums.jsonl")
    attempt = uploads.renew(upload, Choices())
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from app import intake; from app.services import uploads; uploads.latest();"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        f"intake.read({upload.key!r}, {attempt})"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ}, check=True, capture_output=True)
    progress = uploads.progress(upload)
    assert progress.state == FAILED
    assert "nothing of this file was kept" in (progress.error or "").lower()
    assert [path.name for path in files.upload_dir(upload.key).iterdir()] == ["sums.jsonl"]


def test_a_studio_that_starts_clears_what_another_left_half_way(studio, tmp_path):
    upload = arrived(tmp_path, jsonl(ROWS))
    uploads.clear()
    assert uploads.latest() is None
    assert not files.upload_dir(upload.key).exists()
