"""No identity of DICOM images and reports reaches what is stored, a log line or an outcome."""

import base64
import logging

import numpy as np
import pytest
from PIL import Image

from service.cases.ingest import ingest_source, total
from service.cases.sources import open_source
from service.settings import DEMO_LIBRARY
from tests.support.marks import MARK, NUMBER, find_marks, marked_image, marked_report, marks_in

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chest():
    """Pixels of a chest radiograph: uint8[rows, columns]."""
    with Image.open(next(iter(sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))))) as picture:
        return np.asarray(picture.convert("L"))


@pytest.fixture
def folder(tmp_path, chest):
    """Two marked studies with reports, one of them beside a damaged image, and one of images."""
    folder = tmp_path / "export"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"IM{number}").write_bytes(marked_image(number, chest))
        (folder / f"SR{number}").write_bytes(marked_report(number))
    (folder / "IM3").write_bytes(marked_image(3, chest))
    (folder / "IM4").write_bytes(marked_image(4, chest)[:-5000])
    (folder / "SR5").write_bytes(marked_report(5))
    (folder / "IM6").write_bytes(marked_image(6, chest))
    (folder / "SR6").write_bytes(marked_report(6)[:-40])
    return folder


def test_no_mark_of_an_image_or_a_report_is_in_the_library_or_a_log(
    folder, tmp_path, open_library, caplog, capfd
):
    data = tmp_path / "library"
    data.mkdir()
    library = open_library("library/studies")
    with caplog.at_level(logging.DEBUG):
        outcome = total(ingest_source(library, open_source(folder)))
    assert (outcome.stored, len(outcome.rejected)) == (3, 2)
    stored = [each.study for each in library.store.studies() if each.study.report]
    assert len(stored) == 2
    assert all("has clear lungs" in study.report for study in stored)
    said = "".join([*(each.reason for each in outcome.rejected), *outcome.passed, repr(stored)])
    library.store.close()
    assert find_marks(data) == []
    assert marks_in(caplog.text) == marks_in("".join(capfd.readouterr())) == marks_in(said) == []
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) > 2**14


def test_marks_are_found_wherever_they_are(tmp_path, chest):
    (tmp_path / "plain.dcm").write_bytes(marked_image(1, chest))
    (tmp_path / "wide.txt").write_bytes(f"x{MARK}00100010".encode("utf-16-be"))
    (tmp_path / f"{MARK.lower()}.txt").write_text("")
    for before in range(3):
        text = f"{'x' * before}{MARK}00100010"
        (tmp_path / f"coded{before}.txt").write_bytes(base64.b64encode(text.encode()))
    (tmp_path / "digits.txt").write_text(MARK.encode().hex())
    (tmp_path / "number.json").write_text(f'{{"a": {NUMBER}.5}}')
    found = find_marks(tmp_path)
    assert {name for name, _ in found} == {path.name for path in tmp_path.iterdir()}
    plain = {mark.upper() for name, mark in found if name == "plain.dcm"}
    assert {f"{MARK}00100010", f"{MARK}0099{0x1000 + 13:04X}"} <= plain
    assert len(plain) > 100
