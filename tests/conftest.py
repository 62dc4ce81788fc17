"""Fixtures that several folders share: the demo library, an app in this process, a live server."""

import fcntl
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import settings

from service.bundle.manifest import Bundle, load
from service.cases.ingest import ingest
from service.cases.sources import open_source
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY, Settings
from service.wiring import open_services
from tests.support.paths import RADIOGRAPH, ROOT
from tests.support.server import Server, in_process, run_server

settings.register_profile("no deadline", deadline=None)  # a busy machine fails no test
settings.load_profile("no deadline")
os.environ.setdefault("ECLIP_DISK_RESERVE_BYTES", str(2**20))  # a data directory for each test


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
def demo_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the demo library, to copy; the first test process makes it for all."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    made = folder / "demo_index"
    with (folder / "demo_index.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            data_dir = tmp_path_factory.mktemp("indexing")
            with open_services(Settings(data_dir=data_dir)) as wired:
                outcome = ingest(wired.library, open_source(DEMO_LIBRARY).entries)
            assert not outcome.rejected
            data_dir.rename(made)
    return made


@pytest.fixture(scope="session")
def demo_data(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the demo library in it, of this test process."""
    return Path(shutil.copytree(demo_index, tmp_path_factory.mktemp("demo") / "var"))


@pytest.fixture
def demo_copy(demo_index: Path, tmp_path: Path) -> Path:
    """A data directory with the demo library in it, of one test."""
    return Path(shutil.copytree(demo_index, tmp_path / "demo"))


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
    """A port of this machine that refuses connections until the test ends."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(60)


@pytest.fixture(scope="session")
def serve() -> Callable[..., object]:
    """Starts `eclip serve` as a user would: `with serve(data_dir, ECLIP_…=…) as server`."""
    return run_server


@pytest.fixture(scope="session")
def server(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A live server with the demo library, over a real socket."""
    data_dir = Path(shutil.copytree(demo_index, tmp_path_factory.mktemp("live") / "var"))
    with run_server(data_dir) as running:
        yield running


@pytest.fixture(scope="session")
def problem() -> Callable[[httpx.Response, int, str], dict[str, Any]]:
    """Requires a problem+json answer of this status and type, and returns its members."""

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
