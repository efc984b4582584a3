"""A way to a server that can be shut, as a network or the server itself would be: all are cut off, and none gets in."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Gate:
    """Forwards from a port of its own, as long as it is open."""

    def __init__(self, host: str, port: int) -> None:
        self.beyond = (host, port)
        self.through: list[socket.socket] = []
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self._admit()

    def open(self) -> None:
        self.door = socket.create_server(("127.0.0.1", self.port))
        self._admit()

    def shut(self) -> None:
        for each in (self.door, *self.through):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.through.clear()

    def _admit(self) -> None:
        threading.Thread(target=self._let_in, args=(self.door,), daemon=True).start()

    def _let_in(self, door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here = door.accept()[0]
                there = socket.create_connection(self.beyond)
                self.through += [here, there]
                for source, target in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
