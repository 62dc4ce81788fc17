import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.context import Services
from service.cases.erasure import Erasure
from service.reporting.audit import AuditLog
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_library
from tests.support.server import in_process

PICTURES = sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:6]


@pytest.fixture
def writable(
    tmp_path: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """The app on an empty library that one test may fill. It shares the encoder of `client`.

    Deleted content stays in the files: erasing it takes seconds.
    """
    monkeypatch.setattr(Erasure, "start", lambda _: None)
    settings = Settings(data_dir=tmp_path / "var", max_images=4, max_texts=4, max_k=10)
    shared: Services = client.app.state.services
    with open_library(settings, shared.encoder) as library:
        audit = AuditLog(settings.data_dir / "audit", library.pseudonyms)
        reporter = replace(shared.reporter, library=library, audit=audit)
        wired = replace(shared, settings=settings, library=library, reporter=reporter)
        with in_process(settings, wired) as writable:
            yield writable


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return [path.read_bytes() for path in PICTURES]


@pytest.fixture(scope="session")
def in_base64() -> Callable[[bytes], str]:
    return lambda data: base64.b64encode(data).decode("ascii")
