"""Fixtures that several folders share: the demo bundle, an in-process app, a live server."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.api.context import Services
from service.app import create_app, open_services
from service.bundle.manifest import Bundle, load
from service.cases.ingest import Outcome, ingest
from service.cases.sources import open_source
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.settings import DEMO, DEMO_BUNDLE, DEMO_LIBRARY, Settings

ROOT = Path(__file__).parents[1]
RADIOGRAPH = DEMO / "radiograph.png"
START_S = 60


@dataclass(frozen=True)
class Server:
    """A running `eclip serve`, its address, data directory and log."""

    url: str
    data_dir: Path
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""
        return int(self.url.rpartition(":")[2])


def in_process(settings: Settings, wired: Services | None = None) -> TestClient:
    """The app in this process, asked under this machine's own name."""
    app = create_app(settings, wired)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real radiographs and reports, where a developer has them."""
    folder = Path(os.environ.get("ECLIP_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set ECLIP_SHARED_DATA to test with some")
    return folder


@pytest.fixture(scope="session")
def radiograph() -> bytes:
    return RADIOGRAPH.read_bytes()


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the demo library in it."""
    data_dir = tmp_path_factory.mktemp("demo")
    with open_services(Settings(data_dir=data_dir)) as wired:
        outcome = Outcome()
        ingest(wired.library, open_source(DEMO_LIBRARY).entries, outcome)
    assert outcome.rejected == []
    return data_dir


@pytest.fixture(scope="session")
def demo_pairs():  # type: ignore[no-untyped-def] # Pairs, of training
    """Sixty studies of the demo library, to validate with."""
    from training.data.manifest import read_manifest  # with torch, which most tests do without
    from training.data.reading import study_pairs

    studies = islice(read_manifest(DEMO_LIBRARY), 60)
    return study_pairs(studies, DEMO_LIBRARY.parent, load(DEMO_BUNDLE).manifest.image)


@pytest.fixture(scope="session")
def int8_demo(demo_pairs: Any, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The demo bundle with int8 graphs, which the project's own copy does without."""
    from training.export.int8 import with_int8

    demo = load(DEMO_BUNDLE)
    return with_int8(demo, tmp_path_factory.mktemp("int8") / "b", demo.label_sets, demo_pairs)


@pytest.fixture(scope="session")
def client(demo_data: Path) -> Iterator[TestClient]:
    """The app in this process, on the demo library."""
    with in_process(Settings(data_dir=demo_data)) as client:
        yield client


@pytest.fixture(scope="session")
def encoder(client: TestClient) -> Encoder:
    return client.app.state.services.encoder


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that refuses connections for as long as the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(60)


@pytest.fixture(scope="session")
def serve() -> Callable[..., object]:
    """Start `eclip serve` as a user would: `with serve(data_dir, ECLIP_…=…) as server`."""
    return run_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A live server with the demo library, over a real socket."""
    with run_server(tmp_path_factory.mktemp("live"), "--demo") as running:
        yield running


@pytest.fixture(scope="session")
def problem() -> Callable[[httpx.Response, int, str], dict[str, Any]]:
    """Require a problem+json answer of this status and type, and give its members."""

    def require(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
        members: dict[str, Any] = answer.json()
        assert (answer.status_code, members["type"]) == (status, f"urn:eclip:{kind}"), members
        assert answer.headers["content-type"] == "application/problem+json"
        assert members["status"] == status
        assert members["request_id"] == answer.headers["x-request-id"]
        assert members["title"]
        assert members["detail"].endswith((".", ";"))
        return members

    return require


@contextmanager
def run_server(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A server that is ready on entry; at exit it ends with 0 on SIGTERM, or a test killed it."""
    port = _free_port()
    log = data_dir / "server.log"
    variables = {"ECLIP_PORT": str(port), "ECLIP_DATA_DIR": str(data_dir), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", *arguments],
            env=os.environ | variables,
            stdout=output,
            stderr=output,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(url, process, log)
            yield Server(url, data_dir, log, process)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the server did not become ready:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
