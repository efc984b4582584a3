import os
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
import redis
from kombu import Connection

from db import broker, files
from db.settings import settings


@pytest.fixture(autouse=True)
def short_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary folder of these tests' own, so that nothing stays behind in everyone's.

    After tmp_path, whose own place is in that one.
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield


def socket_of(chosen: broker.Broker) -> Path:
    return Path(unquote(chosen.url.removeprefix("redis+socket://")))


@contextmanager
def started(chosen: broker.Broker) -> Iterator[subprocess.Popen[bytes]]:
    """The broker's own process, from its first answer to its end."""
    server = subprocess.Popen(chosen.command, stdout=subprocess.DEVNULL)
    try:
        wait_for(chosen)
        yield server
    finally:
        server.kill()
        server.wait()


def wait_for(chosen: broker.Broker) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            assert redis.Redis(unix_socket_path=str(socket_of(chosen))).ping()
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def test_a_broker_by_url_needs_no_command(data: Path) -> None:
    assert broker.choose("redis://elsewhere:6379/3") == broker.Broker((), "redis://elsewhere:6379/3")
    assert not data.exists()


def test_kombu_speaks_to_our_own_server_by_its_url(data: Path) -> None:
    chosen = broker.choose()
    with started(chosen), Connection(chosen.url) as connection:
        box = connection.SimpleQueue("jobs")
        box.put({"id": 7})
        assert box.get(timeout=10).payload == {"id": 7}


def test_our_own_server_listens_on_no_network_and_only_to_its_owner(data: Path) -> None:
    chosen = broker.choose()
    with started(chosen) as server:
        assert stat.S_IMODE(socket_of(chosen).stat().st_mode) == 0o700
        inodes = {
            str(link.readlink()).removeprefix("socket:[").removesuffix("]")
            for link in Path(f"/proc/{server.pid}/fd").iterdir()
        }
        for table in ("tcp", "tcp6", "udp", "udp6"):
            lines = Path(f"/proc/{server.pid}/net/{table}").read_text().splitlines()[1:]
            assert not {line.split()[9] for line in lines} & inodes


def test_queued_messages_outlive_a_killed_server(data: Path) -> None:
    chosen = broker.choose()
    with started(chosen) as server:
        with Connection(chosen.url) as connection:
            box = connection.SimpleQueue("jobs")
            for number in range(5):
                box.put({"id": number})
        server.send_signal(signal.SIGKILL)
        server.wait()
    with started(broker.choose()), Connection(chosen.url) as connection:
        box = connection.SimpleQueue("jobs")
        assert [box.get(timeout=10).payload["id"] for _ in range(5)] == [0, 1, 2, 3, 4]


def test_the_socket_lies_beside_its_data_where_that_is_short_enough(
    data: Path,
) -> None:
    assert socket_of(broker.choose()) == files.broker_dir() / "broker.sock"


@pytest.mark.parametrize("name", ["long " + "x" * 120, "50 % of Zoë's;#1?"])
def test_a_data_folder_of_any_name_gets_a_server_that_works(
    data: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(data / name))
    settings.cache_clear()
    chosen = broker.choose()
    assert len(os.fsencode(socket_of(chosen))) < 107
    assert chosen == broker.choose()
    with started(chosen), Connection(chosen.url) as connection:
        connection.SimpleQueue("jobs").put({"id": 1})
        assert (files.broker_dir() / "appendonlydir").is_dir()


def long_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a data folder too deep for a socket: the temporary folder it falls back to."""
    monkeypatch.setenv("STUDIO_DATA", str(data / ("x" * 120)))
    settings.cache_clear()
    return socket_of(broker.choose()).parent


def test_a_socket_away_from_its_data_is_in_a_private_folder_of_that_data_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = long_data(data, monkeypatch)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert long_data(data / "other", monkeypatch) != folder


def test_a_folder_that_others_can_enter_is_refused_with_a_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = long_data(data, monkeypatch)
    folder.chmod(0o755)
    with pytest.raises(broker.BrokerError, match="is not private to you"):
        broker.choose()
    folder.rmdir()
    folder.symlink_to(data)
    with pytest.raises(broker.BrokerError, match="is not private to you"):
        broker.choose()


def test_where_no_short_path_is_to_be_had_a_sentence_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = data / ("y" * 110)
    deep.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(broker.BrokerError, match="set TMPDIR to a shorter one"):
        long_data(data, monkeypatch)


def test_a_socket_left_behind_by_a_dead_server_is_taken_over(data: Path) -> None:
    chosen = broker.choose()
    socket.socket(socket.AF_UNIX).bind(str(socket_of(chosen)))
    with started(chosen), Connection(chosen.url) as connection:
        connection.SimpleQueue("jobs").put({"id": 1})
