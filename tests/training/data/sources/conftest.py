"""Tiny data sets in their published layout."""

import csv
import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from training.data.study import ManifestStudy, Skipped

Layout = dict[str, object]


@pytest.fixture
def write(tmp_path) -> Callable[[Layout], Path]:
    """{path: text, bytes, rows or None for an image} → a folder; `.gz` is zipped."""

    def write(layout: Layout) -> Path:
        for name, content in layout.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                Image.new("L", (32, 32)).save(path)
            elif isinstance(content, str):
                path.write_text(content, encoding="utf-8")
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                _write_table(path, content)
        return tmp_path

    return write


@pytest.fixture
def read():
    """A source's studies by id, and how many it skipped for each reason."""

    def read(found) -> tuple[dict[str, ManifestStudy], Counter[str]]:
        found = list(found)
        skipped = Counter(one.reason for one in found if isinstance(one, Skipped))
        return {one.study_id: one for one in found if isinstance(one, ManifestStudy)}, skipped

    return read


def _write_table(path, rows):
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)
