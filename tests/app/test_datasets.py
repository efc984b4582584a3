import json
from pathlib import Path

import pytest

from app.pages.datasets import use_sample
from app.pages.report import preview_html
from app.services import datasets
from db import files
from prolora.dataset import Mapping, read_rows
from prolora.errors import DatasetError

ROWS = [{"question": f"How much is {i} + {i}?", "answer": f"{2 * i}"} for i in range(30)]


def written(folder: Path, text: str, name: str = "sums.jsonl") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def jsonl(rows: list[dict[str, str]]) -> str:
    return "\n".join(map(json.dumps, rows))


def everything(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for sub in ("datasets", "uploads") for path in (folder / sub).rglob("*")
    )


def test_good_rows_are_kept_and_bad_ones_listed_with_their_lines(studio, tmp_path):
    text = jsonl(ROWS[:3]) + '\n{"question": "x"}\nnot json\n' + jsonl(ROWS[3:])
    upload = datasets.receive(written(tmp_path, text), "sums.jsonl")
    preview = datasets.preview(upload)
    assert (preview.kept, preview.rejected) == (30, 2)
    assert [reject.line for reject in preview.rejects] == [4, 5]
    kept = datasets.keep(upload, "Sums", preview.mapping)
    detail = datasets.detail(kept.id)
    assert (detail.line.kept, detail.line.rejected, detail.line.held_out) == (30, 2, preview.held_out)
    assert [reject.line for reject in detail.rejects] == [4, 5]
    assert len(read_rows(files.dataset_rows(detail.content_hash))) == 30
    assert files.dataset_source(detail.content_hash, "jsonl").read_text() == text
    path, name = datasets.originals_file(kept.id)
    assert (path.read_text(), name) == ('{"question": "x"}\nnot json\n', "sums-rejects.jsonl")


def test_a_file_that_was_never_kept_gives_way_to_the_next(studio):
    first = use_sample(None)[0]
    second = use_sample(first)[0]
    assert [path.name for path in files.uploads_dir().iterdir()] == [second.key]


def test_the_same_rows_again_are_the_same_dataset(studio, tmp_path):
    path = written(tmp_path, jsonl(ROWS))
    first = datasets.keep(datasets.receive(path, "a.jsonl"), "A")
    again = datasets.keep(datasets.receive(path, "b.jsonl"), "B")
    assert first.new
    assert not again.new
    assert first.id == again.id
    assert [line.name for line in datasets.listing()] == ["A"]


def test_fields_of_other_names_are_mapped_by_hand(studio, tmp_path):
    upload = datasets.receive(
        written(tmp_path, jsonl([{"q": "Why?", "a": "So."}, {"q": "How?", "a": "Thus."}])), "x.jsonl"
    )
    assert datasets.preview(upload).mapping is None
    preview = datasets.preview(upload, Mapping("prompt-completion", {"prompt": "q", "completion": "a"}))
    assert preview.kept == 2
    assert ("So.</s>\n", True) in preview.samples[0] or ("So.</s>", True) in [
        (t.strip(), b) for t, b in preview.samples[0]
    ]


def test_text_of_the_file_is_escaped_on_the_page(studio, tmp_path):
    rows = [{"instruction": "<b>bold</b>", "output": "<script>alert(1)</script>"}, {"instruction": "x", "output": "y"}]
    html = preview_html(datasets.preview(datasets.receive(written(tmp_path, jsonl(rows)), "x.jsonl")))
    assert "<script>" not in html
    assert '<mark class="trained">&lt;script&gt;' in html


@pytest.mark.parametrize(
    ("name", "text"), [("a.jsonl", ""), ("a.json", "{"), ("a.json", "[]"), ("a.jsonl", "\x00\x01")]
)
def test_a_file_that_is_no_dataset_is_refused_and_leaves_nothing(studio, tmp_path, name, text):
    upload = datasets.receive(written(tmp_path, text, name), name)
    with pytest.raises(DatasetError):
        datasets.keep(upload, "x")
    datasets.discard(upload)
    assert everything(studio) == []
    assert datasets.listing() == []


def test_a_file_of_another_kind_is_refused_by_its_name(studio, tmp_path):
    with pytest.raises(DatasetError, match=r"\.csv or \.tsv"):
        datasets.receive(written(tmp_path, "a,b", "x.xlsx"), "x.xlsx")


def test_a_table_says_how_it_was_understood(studio, tmp_path):
    preview = datasets.preview(datasets.receive(written(tmp_path, "frage;antwort\n007;1.10\n", "x.csv"), "x.csv"))
    assert preview.evidence == ("2 fields divided by semicolons: CSV.", "The first row names them: frage, antwort.")
    assert "semicolons" in preview_html(preview)


def test_rows_that_are_all_bad_are_not_kept(studio, tmp_path):
    upload = datasets.receive(written(tmp_path, '{"instruction": "", "output": ""}\n'), "x.jsonl")
    with pytest.raises(DatasetError, match="No row"):
        datasets.keep(upload, "x", Mapping("alpaca", {"instruction": "instruction", "output": "output"}))
    assert not (studio / "datasets").exists()


def test_a_file_name_cannot_lead_out_of_the_uploads(studio, tmp_path):
    upload = datasets.receive(written(tmp_path, jsonl(ROWS)), "../../../evil.jsonl")
    assert upload.name == "evil.jsonl"


def test_a_dataset_that_is_not_there_is_said_to_be_missing(studio):
    with pytest.raises(DatasetError, match="number 7"):
        datasets.detail(7)
