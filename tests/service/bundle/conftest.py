import shutil
from pathlib import Path

import pytest

from service.settings import DEMO_BUNDLE


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle"))
