"""Hostile files for the reader of datasets, found by atheris: `python -m bench.fuzz SECONDS FOLDER [CONTAINER ...]`.

Needs the dependency group `fuzz`. Each container is mutated for so many seconds, beginning with sound files of its
kind. A file that ends in anything but a report in which every row is counted, or a DatasetError, or that is read
differently the second time, is left in the folder as crash-*; it belongs into tests/prolora/test_bad_uploads.py then.
"""

import gzip
import io
import json
import multiprocessing
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["prolora.dataset", "json", "csv"]):
    from prolora.dataset import read
    from prolora.errors import DatasetError

LONGEST = 4_096  # bytes of a file; what breaks a reader is seldom long
SLOWEST = 10  # seconds for one file
ROWS = [{"instruction": "Say “hi”.", "input": "", "output": "Hi.\n"}, {"instruction": "é", "output": "007"}]
TURNS = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]}


def seeds() -> dict[str, bytes]:
    """A sound file of each container."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [*ROWS, TURNS])
    jsonl = lines.encode()
    return {
        "jsonl": jsonl,
        "json": json.dumps([*ROWS, TURNS], indent=1).encode(),
        "wrapped": json.dumps({"version": 1, "data": ROWS}).encode(),
        "csv": b'instruction,output\r\n"a ""b""\nc",d\r\ne,f\r\n',
        "tsv": b"prompt\tcompletion\na\tb\nc\td\n",
        "txt": b"Once upon a time.\n\nThe end.\n",
        "utf16": lines.encode("utf-16"),
        "gzip": gzip.compress(jsonl),
        "zip": zipped(jsonl),
        "parquet": parquet(),
    }


def zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jsonl", content)
    return held.getvalue()


def parquet() -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    held = io.BytesIO()
    columns = {"instruction": ["a", "b"], "output": ["c", None], "turns": [[{"role": "user"}], []]}
    parquet.write_table(pa.table(columns), held)
    return held.getvalue()


class Target:
    """What is asked of every file."""

    def __init__(self, container: str) -> None:
        suffix = {"txt": ".txt", "csv": ".csv", "tsv": ".tsv"}.get(container, ".jsonl")
        self.path = Path(tempfile.mkdtemp()) / f"file{suffix}"

    def __call__(self, data: bytes) -> None:
        self.path.write_bytes(data)
        first, second = self.account(), self.account()
        if first != second:
            raise AssertionError(f"read as {first} and then as {second}")

    def account(self) -> tuple[object, ...]:
        try:
            found = read(self.path)
        except DatasetError as error:
            return (str(error),)
        report = found.report
        if report.kept + report.rejected != report.read or report.kept != len(found.rows):
            raise AssertionError(f"{report.read} rows read, {report.kept} kept and {report.rejected} rejected")
        json.dumps([report.evidence, report.first], ensure_ascii=False).encode()
        return report.content_hash, found.rejects, found.originals, report.evidence


def fuzz(container: str, seed: bytes, seconds: int, folder: Path) -> None:
    corpus = folder / container
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "sound").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}", "-rss_limit_mb=2048"]
    quiet = ["-print_final_stats=1", f"-artifact_prefix={folder}/crash-{container}-"]
    atheris.Setup([sys.argv[0], *limits, *quiet, str(corpus)], Target(container))
    atheris.Fuzz()


def main() -> int:
    seconds, folder, *wanted = sys.argv[1:]
    failed = []
    for container, seed in seeds().items():
        if wanted and container not in wanted:
            continue
        # A process each: libFuzzer ends the one that it runs in.
        process = multiprocessing.get_context("fork").Process(
            target=fuzz, args=(container, seed, int(seconds), Path(folder))
        )
        process.start()
        process.join()
        failed += [container] if process.exitcode else []
    print("Failed:", ", ".join(failed) or "none")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
