"""A hub on loopback with the answers of the real one that the studio asks for: dataset info, and files by commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from threading import Thread
from time import sleep
from urllib.parse import unquote

COMMIT = "a" * 40
TAGGED = "b" * 40
CONVERTED = "c" * 40
ROW = b'{"prompt": "007", "completion": "1.10"}\n'

Repository = dict[str, dict[str, bytes]]  # files of each commit

REPOSITORIES: dict[str, Repository] = {
    "owner/plain": {
        COMMIT: {"README.md": b"# Plain\n", "train.jsonl": ROW * 3, "test.jsonl": ROW},
        TAGGED: {"train.jsonl": ROW},
    },
    "owner/scripted": {
        COMMIT: {"scripted.py": b"raise SystemExit\n", "train.jsonl": ROW},
        CONVERTED: {
            f"{config}/{split}/0000.parquet": b"PAR1" for config in ("en", "fr") for split in ("train", "test")
        },
    },
    "owner/short": {COMMIT: {"train.jsonl": ROW}},
    "owner/stalled": {COMMIT: {"train.jsonl": ROW * 10_000}},
    "owner/gated": {COMMIT: {"README.md": b"# Gated\n", "train.jsonl": ROW}},
    "owner/broken": {COMMIT: {}},
    "owner/escaping": {COMMIT: {"../train.jsonl": ROW}},
}
REVISIONS = {"main": COMMIT, "v1": TAGGED, "refs/convert/parquet": CONVERTED, COMMIT: COMMIT, TAGGED: TAGGED}


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/datasets/"):
            self._info(path.removeprefix("/api/datasets/"))
        elif path.startswith("/store/") and "Authorization" in self.headers:
            self._answer(400, b"")
        elif path.startswith("/api/"):  # the library asks about programs that use it
            self._answer(404, b"")
        else:
            self._file(path.removeprefix("/store").removeprefix("/datasets/"), path.startswith("/store/"))

    def _info(self, path: str) -> None:
        name, _, revision = path.partition("/revision/")
        commit = REVISIONS.get(unquote(revision) or "main")
        if name == "owner/page":
            self._answer(200, b"<html>Sign in to the network</html>")
        elif name == "owner/broken":
            self._answer(500, b"")
        elif name not in REPOSITORIES:
            self._answer(401, b"", "RepoNotFound")  # as the real one answers without a token
        elif commit not in REPOSITORIES[name]:
            self._answer(404, b"", "RevisionNotFound")
        else:
            files = REPOSITORIES[name][commit].items()
            siblings = [{"rfilename": file, "size": len(content), "blobId": "0"} for file, content in files]
            self._answer(200, dumps({"id": name, "sha": commit, "siblings": siblings}).encode())

    def _file(self, path: str, stored: bool) -> None:
        name, _, rest = path.partition("/resolve/")
        commit, _, file = rest.partition("/")
        if name == "owner/gated" and not stored and self.headers.get("Authorization") != "Bearer good":
            self._answer(401, b"", "GatedRepo")
        elif name == "owner/gated" and not stored:  # large files lie with another host
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/store/datasets/{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "owner/stalled":
            self._stall(REPOSITORIES[name][commit][unquote(file)])
        else:
            content = REPOSITORIES[name][commit][unquote(file)]
            self._answer(200, content[:-5] if name == "owner/short" else content)

    def _stall(self, content: bytes) -> None:
        """Half of a file in two pieces, and silence until the other side hangs up."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        quarter = len(content) // 4
        self.wfile.write(content[:quarter])
        sleep(0.5)
        self.wfile.write(content[quarter : 2 * quarter])
        self.rfile.read(1)

    def _answer(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@contextmanager
def fake_hub() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
