"""Stands between two programs of a test and keeps every byte that they send each other."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Recorder:
    """A TCP port whose connections are passed on to another. sent, answered: their bytes."""

    port: int
    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@contextmanager
def recording(to: int) -> Iterator[Recorder]:
    """Runs a recorder before a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    recorder = Recorder(listener.getsockname()[1])
    opened: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                opened.append(client := listener.accept()[0])
                opened.append(server := socket.create_connection(("127.0.0.1", to)))
                for ways in ((client, server, recorder.sent), (server, client, recorder.answered)):
                    threading.Thread(target=_pass_on, args=ways, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in opened:
            each.close()


def _pass_on(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(2**16):
            kept += data
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
