"""What leaves the process goes to the servers that the settings name, and nowhere else."""

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from qdrant_client.grpc import (
    CollectionExists,
    CollectionExistsResponse,
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.http.exceptions import ApiException

from service.cases.server import connect
from service.deadline import Deadline
from service.errors import LlmUnavailable
from service.settings import Settings
from service.tracing import sending_spans
from service.wiring import open_language_model
from tests.service.reporting.llm.example import PROMPT, read
from tests.support.openai_server import OpenAIServer
from tests.support.paths import ROOT

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
"""Variables by which programs find a proxy; some read them in capitals too."""
VLLM = "http://vllm.invalid/v1"


class Stranger(ThreadingHTTPServer):
    """A server that no setting names. It keeps the first line of each request that it gets."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.received = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Refusal(BaseHTTPRequestHandler):
    def parse_request(self):
        self.server.received.append(self.raw_requestline.decode("latin-1"))
        self.close_connection = True
        return False


class Redirect(BaseHTTPRequestHandler):
    """Sends each request on to the stranger, with its body (RFC 9110, 15.4.9)."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(308)
        self.send_header("location", self.server.stranger.url + self.path)
        self.send_header("content-length", "0")
        self.end_headers()
        self.server.asked.set()

    do_GET = do_POST

    def log_message(self, *_):
        pass


class Collections(CollectionsServicer):
    def CollectionExists(self, *_):
        return CollectionExistsResponse(result=CollectionExists(exists=True))


@contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def stranger():
    with serving(Stranger()) as server:
        yield server


@pytest.fixture
def redirect(stranger):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
    server.stranger, server.asked = stranger, threading.Event()
    with serving(server):
        yield server


@pytest.fixture
def proxied(stranger, monkeypatch):
    """The environment names the stranger as proxy of everything."""
    for name in PROXIES:
        monkeypatch.setenv(name, stranger.url)
        monkeypatch.setenv(name.upper(), stranger.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def language_model(url, **settings):
    with open_language_model(Settings(llm_url=url, **settings)) as model:
        yield lambda: read(model.draft(PROMPT, Deadline(60))).drafts


@pytest.mark.usefixtures("proxied")
def test_prompts_pass_no_proxy_of_the_environment(stranger):
    with OpenAIServer.running() as vllm, language_model(vllm.url) as draft:
        assert draft()
    with language_model(VLLM) as draft, pytest.raises(LlmUnavailable, match="cannot be reached"):
        draft()
    assert stranger.received == []


@pytest.mark.usefixtures("proxied")
def test_reports_for_a_qdrant_server_pass_no_proxy_of_the_environment(stranger):
    qdrant = grpc.server(ThreadPoolExecutor(1))
    add_CollectionsServicer_to_server(Collections(), qdrant)
    port = qdrant.add_insecure_port("127.0.0.1:0")
    qdrant.start()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = connect(f"http://127.0.0.1:{closed.getsockname()[1]}", grpc_port=port)
        assert client.collection_exists("studies")
        with pytest.raises(ApiException):
            client.http.collections_api.get_collections()
    client.close()
    qdrant.stop(None).wait()
    assert stranger.received == []


@pytest.mark.usefixtures("proxied")
def test_spans_pass_no_proxy_of_the_environment(stranger, redirect):
    with sending_spans(f"http://127.0.0.1:{redirect.server_port}/v1/traces") as tracer:
        tracer.start_span("request").end()
    assert redirect.asked.wait(10)
    assert stranger.received == []


def test_no_redirect_is_followed(stranger, redirect):
    url = f"http://127.0.0.1:{redirect.server_port}"
    with language_model(url) as draft, pytest.raises(LlmUnavailable, match="redirects"):
        draft()
    with sending_spans(f"{url}/v1/traces") as tracer:
        tracer.start_span("request").end()
    client = connect(url)
    with suppress(ApiException):
        client.http.collections_api.get_collections()
    client.close()
    assert stranger.received == []


def test_the_proxy_that_a_setting_names_is_asked(stranger):
    with language_model(VLLM, llm_proxy=stranger.url) as draft, pytest.raises(LlmUnavailable):
        draft()
    assert stranger.received[0].startswith(f"GET {VLLM}/models ")


ALONE = """
import sys
asked = []
def see(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        asked.append((event, arguments[-1] if event != "socket.getaddrinfo" else arguments[0]))
sys.addaudithook(see)
from pathlib import Path
from service.settings import DEMO, DEMO_LIBRARY, Settings
from service.cases.ingest import ingest
from service.cases.sources import open_source
from tests.support.server import in_process
with in_process(Settings(data_dir=Path(sys.argv[1]))) as client:
    ingest(client.app.state.services.library, open_source(DEMO_LIBRARY).entries)
    radiograph = (DEMO / "radiograph.png").read_bytes()
    kind = {"content-type": "image/png"}
    answer = client.post("/generate-report", content=radiograph, headers=kind)
    assert answer.status_code == 200, answer.text
print(asked)
"""


@pytest.mark.slow
def test_without_such_settings_python_asks_no_other_server(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.endswith("\n[]\n"), done.stdout + done.stderr
