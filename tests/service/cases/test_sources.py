import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from service.cases.records import NewStudy
from service.cases.sources import open_source
from service.errors import EclipError, SourceUnreadable
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from training.data.manifest import write_manifest
from training.data.study import Gaze, ManifestStudy

PNG = picture(Image.fromarray(ramp()), "PNG")
JPEG = picture(Image.fromarray(ramp()), "JPEG")


def studies(path):
    """place → study or what is wrong with it; the count that the source gave must be right."""
    source = open_source(path)
    found = {entry.place: entry.study for entry in source.entries}
    assert source.count == len(found)
    return found


def dicom(folder, name, study_uid, **tags):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(dicom_dataset(StudyInstanceUID=study_uid, **tags)))


def test_dicom_files_of_one_study_are_one_study_of_its_patient(tmp_path):
    dicom(tmp_path, "a/1.dcm", "1.2.3", PatientID="p1 ")
    dicom(tmp_path, "b/IM0002", "1.2.3", PatientID="p1")
    dicom(tmp_path, "a/3.dcm", "1.2.4")
    (tmp_path / "a/1.txt").write_text("Clear lungs.")
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    found = studies(tmp_path)
    both, other = found["a/1.dcm"], found["a/3.dcm"]
    assert (both.study_id, both.record.patient_id, len(both.images)) == ("1.2.3", "p1", 2)
    assert (both.record.report, other.record.report) == ("Clear lungs.", None)
    assert (other.study_id, other.record.patient_id) == ("1.2.4", None)
    assert len(found) == 2


def test_a_dicom_file_is_known_by_its_bytes(tmp_path):
    """PACS exports name files by UIDs; some write neither preamble nor StudyInstanceUID."""
    dicom(tmp_path, "1.2.840.113619.2.5", "1.2.3", PatientID="p1")
    dicom(tmp_path, "a.dcm", "", PatientID="p2")
    headless = dicom_dataset(StudyInstanceUID="1.2.5", PatientID="p3")
    (tmp_path / "b").write_bytes(dicom_bytes(headless, headless=True))
    (tmp_path / "README").write_text("no image")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    found = {s.study_id: s.record.patient_id for s in studies(tmp_path).values()}
    assert found == {"1.2.3": "p1", "a.dcm": "p2", "1.2.5": "p3"}


def test_a_study_is_its_patients_though_one_file_does_not_say_so(tmp_path):
    dicom(tmp_path, "1.dcm", "1.2.3", PatientID="p1")
    dicom(tmp_path, "2.dcm", "1.2.3", PatientID="")
    dicom(tmp_path, "3.dcm", "1.2.4", PatientID="p1")
    dicom(tmp_path, "4.dcm", "1.2.4", PatientID="p2")
    one, two = studies(tmp_path).values()
    assert (one.record.patient_id, len(one.images)) == ("p1", 2)
    assert "several patients" in two.detail


def test_other_images_are_studies_named_after_their_paths(tmp_path):
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / "one.PNG").write_bytes(PNG)
    (tmp_path / "ward" / "one.txt").write_text("Größer.", encoding="utf-8")
    (tmp_path / "two.jpg").write_bytes(JPEG)
    (tmp_path / "notes.md").write_text("no study")
    found = studies(tmp_path)
    assert {place: study.study_id for place, study in found.items()} == {
        "two.jpg": "two.jpg",
        "ward/one.PNG": "ward:one.PNG",
    }
    assert found["ward/one.PNG"].record.report == "Größer."
    assert found["two.jpg"].images == (JPEG,)


def test_a_damaged_dicom_is_a_study_that_its_decoder_will_refuse(tmp_path):
    (tmp_path / "broken.dcm").write_bytes(b"not a DICOM file")
    assert studies(tmp_path)["broken.dcm"].images == (b"not a DICOM file",)


def test_a_report_in_another_encoding_is_refused_and_not_guessed(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.txt").write_bytes("Größer.".encode("latin-1"))
    assert "UTF-8" in studies(tmp_path)["a.png"].detail


def test_a_table_has_a_study_a_row(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.jpg").write_bytes(JPEG)
    (tmp_path / "studies.csv").write_text(
        "study_id,patient_id,images,findings,report\n"
        's1,p1,a.png; b.jpg,Mass;Edema,"FINDINGS: One,\ntwo."\n'
        "s2,,,,Clear.\n"
        "s3,,../a.png,,\n"
        ",,,,No id.\n"
        "s4,,,,Clear.,too much\n",
        encoding="utf-8-sig",
    )
    first, second, outside, nameless, wide = studies(tmp_path / "studies.csv").values()
    assert (first.study_id, first.images) == ("s1", (PNG, JPEG))
    assert first.record.findings == ["Mass", "Edema"]
    assert first.record.report == "FINDINGS: One,\ntwo."
    assert (second.record.patient_id, second.images) == (None, ())
    for refused in (outside, nameless, wide):
        assert isinstance(refused, EclipError)


def test_a_parquet_manifest_of_training_is_the_same_studies(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    gaze = Gaze(x=(0.5,), y=(0.5,), duration=(1.0,))
    made = ManifestStudy(
        "s1", "p1", "ward", ("a.png",), "Clear.", "PA", ("Mass",), (gaze,), "train", {"age": 61}
    )
    write_manifest(tmp_path / "studies.parquet", [made])
    (study,) = studies(tmp_path / "studies.parquet").values()
    assert (study.study_id, study.images) == ("s1", (PNG,))
    assert study.record.model_dump() == {
        "patient_id": "p1",
        "source": "ward",
        "report": "Clear.",
        "view": "PA",
        "findings": ["Mass"],
        "metadata": {"age": 61},
    }


def test_a_plain_parquet_table_needs_no_more_than_an_id(tmp_path):
    table = pa.table(
        {"study_id": ["s1", "s2"], "report": ["Clear.", None], "metadata": ["{}", "{"]}
    )
    pq.write_table(table, tmp_path / "studies.parquet")
    good, bad = studies(tmp_path / "studies.parquet").values()
    assert (good.study_id, good.record.report) == ("s1", "Clear.")
    assert isinstance(bad, EclipError)


def shard(path, **files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_a_shard_has_a_study_a_key(tmp_path):
    shard(
        tmp_path / "000.tar",
        **{
            "x/1.json": json.dumps({"patient_id": "p1", "images": ["elsewhere.png"]}).encode(),
            "x/1.txt": b"Clear.",
            "x/1.front.png": PNG,
            "x/1.side.jpg": JPEG,
            "x/2.png": PNG,
            "x/3.json": b"[1]",
        },
    )
    found = studies(tmp_path / "000.tar")
    assert list(found) == ["x/1", "x/2", "x/3"]
    assert found["x/1"].images == (PNG, JPEG)
    assert (found["x/1"].record.patient_id, found["x/1"].record.report) == ("p1", "Clear.")
    assert (found["x/2"].study_id, found["x/2"].record.report) == ("x:2", None)
    assert isinstance(found["x/3"], EclipError)


def test_a_shard_that_is_cut_short_anywhere_is_refused_before_any_of_it(tmp_path):
    shard(tmp_path / "000.tar", **{"1.png": PNG, "2.png": PNG})
    whole = (tmp_path / "000.tar").read_bytes()
    for length in range(512, len(whole.rstrip(b"\0")), 512):
        (tmp_path / "000.tar").write_bytes(whole[:length])
        with pytest.raises(SourceUnreadable, match="cut short"):
            open_source(tmp_path / "000.tar")


def test_a_shard_of_training_is_refused_as_it_names_no_patient(tmp_path):
    shard(tmp_path / "000.tar", **{"1.png": PNG, "1.heatmap.png": PNG})
    assert "name no patient" in studies(tmp_path / "000.tar")["1"].detail


@pytest.mark.parametrize("name", ["studies.csv", "studies.parquet", "000.tar"])
def test_what_is_not_what_its_name_says_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 nonsense \x00" * 100)
    with pytest.raises(SourceUnreadable):
        list(open_source(tmp_path / name).entries)


def test_an_unknown_kind_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(SourceUnreadable, match="no DICOM"):
        open_source(tmp_path)
    (tmp_path / "studies.xlsx").write_bytes(b"")
    with pytest.raises(SourceUnreadable, match=r"\.parquet"):
        open_source(tmp_path / "studies.xlsx")


def test_images_are_read_when_their_study_is_taken(tmp_path):
    """A million studies must not be held at once."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(PNG)
    entries = open_source(tmp_path).entries
    assert isinstance(next(entries).study, NewStudy)
    (tmp_path / "b.png").unlink()
    assert "cannot be read" in next(entries).study.detail


def test_two_patients_in_one_row_are_refused_though_it_names_one(tmp_path):
    dicom(tmp_path, "a.dcm", "1.2.3", PatientID="p1")
    dicom(tmp_path, "b.dcm", "1.2.3", PatientID="p2")
    dicom(tmp_path, "c.dcm", "1.2.3", PatientID="")
    row = {"study_id": "s1", "patient_id": "mine"}
    for images, taken in ((["a.dcm", "c.dcm"], True), (["a.dcm", "b.dcm"], False)):
        (tmp_path / "s.jsonl").write_text(json.dumps(row | {"images": images}))
        (study,) = studies(tmp_path / "s.jsonl").values()
        assert isinstance(study, NewStudy) == taken
        assert taken or "several patients" in study.detail


def test_an_id_that_returns_with_another_patient_is_refused(tmp_path):
    """é may be one letter or two. An unknown patient may be any."""
    lines = [("é1", "p1"), ("e\u03011 ", "p2"), ("é1", "p1"), ("é1", None)]
    rows = [{"study_id": s, "patient_id": p, "report": "x"} for s, p in lines]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = open_source(tmp_path / "s.jsonl")
    assert [isinstance(entry.study, NewStudy) for entry in source.entries] == [
        True,
        False,
        True,
        True,
    ]
    assert dict(source.passed) == {"lines that repeat an earlier study_id": 2}


@pytest.mark.parametrize(("patient", "reason"), [("p1", "same id."), ("p2", "another patient")])
def test_two_studies_of_one_id_in_a_tar_do_not_replace_each_other(tmp_path, patient, reason):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for key, patient_id in (("a", "p1"), ("b", patient)):
            data = json.dumps({"study_id": "s1", "patient_id": patient_id, "report": key}).encode()
            member = tarfile.TarInfo(f"{key}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    found = studies(tmp_path / "s.tar")
    assert found["a"].record.report == "a"
    assert reason in found["b"].detail
