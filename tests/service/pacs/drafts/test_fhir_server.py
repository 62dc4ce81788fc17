"""What a FHIR server answers is told in our words, in bounded time, and leads nowhere else."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.errors import PeerRefused, PeerUnavailable, SettingInvalid
from service.pacs.drafts.fhir_server import FhirServer

pytestmark = pytest.mark.slow  # starts a server for each test
BUNDLE = '{"resourceType": "Bundle", "type": "transaction", "entry": []}'
TAKEN = {"resourceType": "Bundle", "type": "transaction-response", "entry": []}
CANARY = "Canary^Jane"


def outcome(*codes):
    issues = [{"severity": "error", "code": code, "diagnostics": CANARY} for code in codes]
    return {"resourceType": "OperationOutcome", "issue": issues}


class Answering(ThreadingHTTPServer):
    """Answers each POST alike, and keeps what it was sent."""

    def __init__(self, status=200, content=TAKEN, **headers):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.headers, self.received = status, headers, []
        self.content = content if isinstance(content, bytes) else json.dumps(content).encode()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/fhir"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, dict(self.headers.items()), body.decode()))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answer, **headers):
    server = Answering(*answer, **headers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(url, **options):
    server = FhirServer(url, "t0ken\n", **options)
    try:
        server.send(BUNDLE)
    finally:
        server.close()


def test_a_transaction_goes_to_the_base_address_with_the_token():
    with serving() as server:
        send(f"{server.url}/")
    ((path, headers, body),) = server.received
    assert (path, body) == ("/fhir", BUNDLE)
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Content-Type"].startswith("application/fhir+json")


@pytest.mark.parametrize(
    ("status", "content", "error", "told"),
    [
        (422, outcome("invalid", "invalid", CANARY), PeerRefused, "(422, invalid)"),
        (400, b"<html>Canary^Jane", PeerRefused, "(400)"),
        (400, [{"issue": CANARY}], PeerRefused, "(400)"),
        (401, outcome("login"), PeerRefused, "ECLIP_FHIR_TOKEN"),
        (404, b"", PeerRefused, "the base of a FHIR server"),
        (412, outcome("multiple-matches"), PeerRefused, "several resources"),
        (501, b"", PeerRefused, "takes transactions"),
        (200, b"<html>Login</html>", PeerRefused, "not that of a FHIR server"),
        (200, outcome("processing"), PeerRefused, "not that of a FHIR server"),
        (409, outcome("conflict"), PeerUnavailable, "(409, conflict)"),
        (429, outcome("throttled"), PeerUnavailable, "(429, throttled)"),
        (507, outcome("no-store"), PeerUnavailable, "(507, no-store)"),
        (503, b"x" * 2**23, PeerUnavailable, "(503)"),
    ],
)
def test_an_answer_that_is_no_success_is_told_without_its_words(status, content, error, told):
    with serving(status, content) as server, pytest.raises(error) as raised:
        send(server.url)
    assert told in raised.value.detail
    assert "Canary" not in raised.value.detail


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("7", 7), ("nan", None), ("9" * 30, 86_400), ("Fri, 01 Jan 2100 00:00:00 GMT", 86_400)],
)
def test_the_time_to_wait_is_told(given, seconds):
    with serving(503, b"", Retry_After=given) as server, pytest.raises(PeerUnavailable) as raised:
        send(server.url)
    assert raised.value.retry_after_s == seconds


def test_neither_a_redirect_nor_a_proxy_of_the_environment_gets_anything(monkeypatch):
    with serving() as stranger:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{stranger.server_port}")
        redirecting = serving(307, b"", Location=stranger.url)
        with redirecting as server, pytest.raises(PeerRefused, match="redirects"):
            send(server.url)
        assert len(server.received) == 1
        assert stranger.received == []


def test_a_server_that_is_not_there_may_come_back(closed_port):
    with pytest.raises(PeerUnavailable, match="ConnectError"):
        send(f"http://127.0.0.1:{closed_port}/fhir")


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_server_that_hangs_or_drips_is_given_up(drip):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang():
            peer, _ = listening.accept()
            with peer:
                try:
                    peer.sendall(drip)
                    while drip:
                        peer.sendall(b"x")
                        time.sleep(0.05)
                    while peer.recv(4096):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=hang)
        thread.start()
        with pytest.raises(PeerUnavailable, match="does not answer"):
            send(f"http://127.0.0.1:{listening.getsockname()[1]}/fhir", limit_s=0.5)
        thread.join()


def test_authorities_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "ca.pem").write_text("none")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(SettingInvalid, match="ECLIP_PACS_CA"):
            FhirServer("https://127.0.0.1/fhir", None, ca=path)
