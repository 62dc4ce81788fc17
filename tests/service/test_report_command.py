"""`eclip report --fhir` gives the report to a FHIR server, for whom the DICOM files name."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from service import cli
from service.settings import DEMO
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.pacs.drafts.test_fhir_server import outcome, serving
from tests.service.test_cli import data_dir, fails, invoke, manifest  # noqa: F401 — fixtures
from tests.support.fhir import require_valid
from tests.support.synthetic import radiograph

pytestmark = pytest.mark.slow  # starts a server, and makes reports


@pytest.fixture
def file(tmp_path):
    """Writes a radiograph's file with these elements, and returns its path."""

    def write(name="chest.dcm", **elements):
        given = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "PatientID": "P-1"}
        dataset = dicom_dataset(radiograph(256, 256, 12), BitsStored=12, HighBit=11)
        for keyword, value in {**given, "SOPInstanceUID": "1.2.3.4.5", **elements}.items():
            setattr(dataset, keyword, value)
        (tmp_path / name).write_bytes(dicom_bytes(dataset))
        return tmp_path / name

    return write


def test_the_server_gets_the_report_that_is_printed(manifest, file, monkeypatch):  # noqa: F811
    monkeypatch.setenv("ECLIP_FHIR_TOKEN", "t0ken")
    invoke("index", manifest)
    path = file(StudyDate="20260304", StudyTime="0900", AccessionNumber="A-1")
    with serving() as server:
        asked = ["report", str(path), "--json", "--fhir", server.url]
        first, second = (CliRunner().invoke(cli.cli, asked) for _ in range(2))
    printed = json.loads(first.stdout)
    assert "The FHIR server has the report." in first.stderr
    ((_, headers, body), (_, _, again)) = server.received
    assert headers["Authorization"] == "Bearer t0ken"
    bundle = json.loads(body)
    require_valid(bundle)
    resources = {entry["resource"]["resourceType"]: entry["resource"] for entry in bundle["entry"]}
    written = resources["DiagnosticReport"]
    assert written["conclusion"] == " ".join(item["text"] for item in printed["impression"])
    assert written["subject"]["identifier"]["value"] == "P-1"
    assert resources["ImagingStudy"]["series"][0]["instance"][0]["uid"] == "1.2.3.4.5"
    searches = [
        [entry["request"]["ifNoneExist"] for entry in json.loads(sent)["entry"]]
        for sent in (body, again)
    ]
    assert searches[0] == searches[1]
    for shown in (first.output, second.output):
        assert "P-1" not in shown
        assert "A-1" not in shown


def test_a_refusal_ends_with_1_after_the_report(manifest, file, monkeypatch, capsys):  # noqa: F811
    invoke("index", manifest)
    with serving(422, outcome("business-rule")) as server:
        code, complaint = fails(monkeypatch, capsys, "report", file(), "--fhir", server.url)
    assert code == 1
    assert "PACS or FHIR server refuses: The FHIR server refuses the report (422" in complaint


def test_what_names_no_patient_and_no_study_is_a_usage_error(file):
    url = "http://127.0.0.1:1/fhir"
    for images in ([DEMO / "radiograph.png"], [file(), DEMO / "radiograph.png"]):
        assert "Only DICOM files" in invoke("report", *images, "--fhir", url, code=2)
    assert "no patient" in invoke("report", file(PatientID=""), "--fhir", url, code=2)
    for address in ("ward.example/fhir", "ftp://ward.example", "https://", "http://["):
        assert "no address" in invoke("report", file(), "--fhir", address, code=2)
    invoke("report", "--replay", "x", "--fhir", url, code=2)


def test_an_earlier_study_is_the_prior_and_is_named(manifest, file, tmp_path, data_dir):  # noqa: F811
    invoke("index", manifest)
    (tmp_path / "pacs").mkdir()
    earlier = file("pacs/1.dcm", StudyInstanceUID="1.2.1", StudyDate="20250101", StudyTime="0900")
    studies = tmp_path / "earlier.jsonl"
    line = {"study_id": "1.2.1", "report": "FINDINGS: A nodule.", "images": ["pacs/1.dcm"]}
    studies.write_text(json.dumps(line))
    assert earlier.exists()
    invoke("index", studies)
    minute = int(datetime(2025, 1, 1, 9, tzinfo=UTC).timestamp()) // 60
    kept = [path.read_bytes() for path in data_dir.rglob("*") if path.is_file()]
    for plain in (b"20250101", str(minute).encode(), minute.to_bytes(8, "little")):
        assert not any(plain in content for content in kept)
    path = file(StudyDate="20260304", StudyTime="0900")
    shown = json.loads(CliRunner().invoke(cli.cli, ["report", str(path), "--json"]).stdout)
    assert shown["prior_from"] == "library"
    assert shown["prior_study_id"].startswith("stu_")
    record = shown["provenance"]["record"]
    assert "The report is the same." in invoke("report", "--replay", record)
