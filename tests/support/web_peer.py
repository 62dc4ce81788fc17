"""Runs a small HTTP server in this process that answers as a test says, well or badly."""

import copy
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DICOM_JSON = "application/dicom+json"


class Asked(BaseHTTPRequestHandler):
    """One request, and the means to answer it."""

    protocol_version = "HTTP/1.1"
    server: "Peer"

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the address."""
        return parse_qs(urlsplit(self.path).query)

    def reply(self, status: int = 200, body: bytes = b"", kind: str = DICOM_JSON, **headers: str):
        """Answers with this body. headers: others, with _ for -."""
        self.begin(status, kind, content_length=str(len(body)), **headers)
        self.wfile.write(body)

    def items(self, *items: dict[str, Any]) -> None:
        """Answers with datasets as DICOM JSON."""
        self.reply(body=json.dumps(items).encode())

    def begin(self, status: int = 200, kind: str = DICOM_JSON, **headers: str) -> None:
        """Sends the status and headers only."""
        self.send_response(status)
        for name, value in {"content_type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def drip(self, piece: bytes = b" ") -> None:
        """Sends this piece every 20 ms until the client or the test ends it."""
        self.close_connection = True
        try:
            while not self.server.ending.wait(0.02):
                self.connection.sendall(piece)
        except OSError:
            pass

    def hang(self) -> None:
        """Says nothing until the test ends."""
        self.close_connection = True
        self.server.ending.wait()

    def drop(self) -> None:
        """Ends the connection."""
        self.close_connection = True

    def do_GET(self) -> None:
        """Keeps what was asked, and answers."""
        size = int(self.headers.get("content-length", 0)) if self.server.reads_bodies else 0
        self.sent = self.rfile.read(size)
        self.server.requests.append(copy.copy(self))  # one handler serves a whole connection
        self.server.answer(self)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Writes nothing."""


class Peer(ThreadingHTTPServer):
    """A server on a loopback port; `requests` has what it was asked."""

    daemon_threads = False

    def __init__(
        self, answer: Callable[[Asked], None], tls: ssl.SSLContext | None, host: str
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Asked)
        self.host = f"[{host}]" if ":" in host else host
        self.answer, self.requests = answer, list[Asked]()
        self.ending, self.reads_bodies = threading.Event(), True
        self.scheme = "http" if tls is None else "https"
        if tls is not None:
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def url(self) -> str:
        """Base address of its DICOMweb service."""
        return f"{self.scheme}://{self.host}:{self.server_port}/dicom-web"

    def handle_error(self, *_: Any) -> None:
        """Writes nothing: clients break connections off here by intent."""


@contextmanager
def peer(
    answer: Callable[[Asked], None], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[Peer]:
    """Runs a peer that answers each request by `answer`."""
    server = Peer(answer, tls, host)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
