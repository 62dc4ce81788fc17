import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.settings import DEMO_LIBRARY, Settings
from tests.support.server import in_process

PICTURES = sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:6]


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[TestClient]:
    """The app on an empty library that one test may fill."""
    settings = Settings(data_dir=tmp_path / "var", max_images=4, max_texts=4, max_k=10)
    with in_process(settings) as client:
        yield client


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    return [path.read_bytes() for path in PICTURES]


@pytest.fixture(scope="session")
def in_base64() -> Callable[[bytes], str]:
    return lambda data: base64.b64encode(data).decode("ascii")
