"""Which files of a folder or a tar are one study, and what becomes of all others."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from service.errors import SourceUnreadable, StudyInvalid
from service.studies import sources
from service.studies.files import OTHERS
from service.studies.line import StudyLine
from service.studies.sources import open_studies
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from tests.service.studies.test_tars import special, tar_of

PNG = picture(Image.fromarray(ramp()), "PNG")
UNSHOWN = {
    "mammography CAD": "1.2.840.10008.5.1.4.1.1.88.50",
    "dose report": "1.2.840.10008.5.1.4.1.1.88.67",
    "presentation state": "1.2.840.10008.5.1.4.1.1.11.1",
    "key objects": "1.2.840.10008.5.1.4.1.1.88.59",
    "PDF": "1.2.840.10008.5.1.4.1.1.104.1",
    "DICOMDIR": "1.2.840.10008.1.3.10",
    "waveform": "1.2.840.10008.5.1.4.1.1.9.1.1",
    "a vendor's own": "1.3.12.2.1107.5.9.1",
}


def dicom(study_uid="", patient="", **elements):
    return dicom_bytes(dicom_dataset(StudyInstanceUID=study_uid, PatientID=patient, **elements))


def deflated(study_uid, patient):
    dataset = dicom_dataset(StudyInstanceUID=study_uid, PatientID=patient)
    return dicom_bytes(dataset, DeflatedExplicitVRLittleEndian)


def unshown(sop_class, study_uid="1.2.3"):
    dataset = dicom_dataset(StudyInstanceUID=study_uid, PatientID="p1", SOPClassUID=sop_class)
    for name in ("Rows", "Columns", "PixelData"):
        delattr(dataset, name)
    return dicom_bytes(dataset)


def record(**fields):
    return json.dumps(fields).encode()


def folder_of(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def found_in(path):
    """place → (study, patient, images, report) or what is wrong; and what was passed over."""
    opened = open_studies(path)
    found = {}
    for each in opened.found:
        one = each.study
        assert each.place not in found
        found[each.place] = (
            (one.study_id, one.patient_id, len(one.images), one.report)
            if isinstance(one, StudyLine)
            else one.detail
        )
        if isinstance(one, StudyLine):
            assert all(map(opened.read, one.images))
    assert opened.count == len(found)
    return found, dict(opened.passed)


@pytest.mark.parametrize(
    ("files", "studies"),
    [
        (
            {f"1.2.840.{n}.dcm": dicom(f"1.2.{n}", f"p{n}") for n in "123"},
            {f"1.2.840.{n}": (f"1.2.{n}", f"p{n}", 1, None) for n in "123"},
        ),
        (
            {"a/1.dcm": dicom("1.2", "p1"), "b.txt": b"x", "c/2.DCM": dicom("1.2", "p1")},
            {"a/1": ("1.2", "p1", 2, None)},
        ),
        (
            {"IM1": deflated("1.2", "p1"), "IM2": dicom("1.2", "p1"), "IM3": deflated("1.3", "p1")},
            {"IM1": ("1.2", "p1", 2, None), "IM3": ("1.3", "p1", 1, None)},
        ),
        (
            {"IM1": dicom("1.2", "p1"), "1.2.840.5": dicom("1.3", ""), "1.2.840.5.txt": b"R."},
            {"IM1": ("1.2", "p1", 1, None), "1.2.840.5": ("1.3", None, 1, "R.")},
        ),
        (
            {
                "1.2.1.png": PNG,
                "1.2.1.json": record(study_id="a", patient_id="p"),
                "1.2.2.png": PNG,
            },
            {"1.2.1": ("a", "p", 1, None), "1.2.2": ("1.2.2", None, 1, None)},
        ),
        (
            {"w.1.png": PNG, "w.2.png": PNG, "w.1.txt": b"One.", "w.2.txt": b"Two."},
            {"w.1": ("w.1", None, 1, "One."), "w.2": ("w.2", None, 1, "Two.")},
        ),
        ({"a.b.JSON": record(report="R.")}, {"a.b": ("a.b", None, 0, "R.")}),
        (
            {"k.0.png": PNG, "k.1.jpg": PNG, "k.json": record(patient_id="p")},
            {"k": ("k", "p", 2, None)},
        ),
        ({"k.front.png": PNG, "k.txt": b"R."}, {"k": ("k", None, 1, "R.")}),
        (
            {"k.front.png": PNG, "k.side.png": PNG},
            {"k.front": ("k.front", None, 1, None), "k.side": ("k.side", None, 1, None)},
        ),
        ({"./w/1.png": PNG, "w/1.txt": b"R."}, {"w/1": ("w:1", None, 1, "R.")}),
        (
            {"a.png": PNG, "b.png": PNG, "a.txt": b"R."},
            {"a": ("a", None, 1, "R."), "b": ("b", None, 1, None)},
        ),
        ({"k.png": PNG, "k.JPEG": PNG}, {"k": ("k", None, 2, None)}),
        (
            {"k.dcm": dicom("1.2", "p1"), "k.json": record(study_id="mine", patient_id="other")},
            {"k": ("mine", "other", 1, None)},
        ),
        (
            {"k.dcm": dicom("1.2", "p1"), "k.json": b'{"report": "R."}'},
            {"k": ("1.2", "p1", 1, "R.")},
        ),
        ({"k.png": PNG, "k.txt": b"\xef\xbb\xbfR."}, {"k": ("k", None, 1, "R.")}),
        ({"k.png": PNG, "k.txt": b" \n"}, {"k": ("k", None, 1, None)}),
        ({"k.json": record(report="R.\n"), "k.txt": b"R.\n"}, {"k": ("k", None, 0, "R.")}),
        (
            {
                "k.image.png": PNG,
                "k.heatmap.png": PNG,
                "k.json": record(patient_id="p"),
                "k.txt": b"R.",
            },
            {"k": ("k", "p", 1, "R.")},
        ),
    ],
    ids=[
        "DICOM named by UIDs",
        "a UID across folders",
        "deflated DICOM",
        "DICOM without a suffix",
        "UIDs as keys",
        "numbers after a dot",
        "two dots in a record's name",
        "parts of a record",
        "a part of a text",
        "parts of nothing",
        "./ before a name",
        "members apart",
        "two forms of one image",
        "a record before the header",
        "a header fills gaps",
        "a byte order mark",
        "a blank text",
        "one report twice",
        "a shard of training",
    ],
)
def test_identity_in_a_tar_comes_from_headers_and_records(tmp_path, files, studies):
    assert found_in(tar_of(tmp_path / "t.tar", files.items()))[0] == studies


@pytest.mark.parametrize(
    ("files", "place", "reason"),
    [
        ({"a.dcm": dicom("1.2", "p1"), "b.dcm": dicom("1.2", "p2")}, "a", "several patients"),
        ({"a.dcm": dicom("1.2"), "a.dicom": dicom("1.3")}, "a", "several StudyInstanceUIDs"),
        (
            {"k.1.dcm": dicom("1.2", "p1"), "k.2.dcm": dicom("1.3", "p2"), "k.json": b"{}"},
            "k",
            "several patients",
        ),
        ({"k.txt": b"One.", "k.json": record(report="Two.")}, "k", "two reports"),
        ({"k.txt": b"One.", "k.TXT": b"Two.", "k.png": PNG}, "k", "Two text"),
        ({"k.json": b"{}", "k.JSON": b"{}", "k.png": PNG}, "k", "Two text or .json"),
        ({"k.png": PNG, "k.json": b"{}", "k.meta.json": b"{}"}, "k.meta", "could be a study"),
        ({"k.json": b"[1]"}, "k", "not a JSON object"),
        ({"k.png": PNG, "k.txt": "Größer.".encode("latin-1")}, "k", "not UTF-8"),
        ({"k.png": PNG, "k.txt": "Clear.".encode("utf-16")}, "k", "not UTF-8"),
        ({"k.png": PNG, "k.txt": "Clear.".encode("utf-16-le")}, "k", "not UTF-8"),
        ({"gr\udcf6.png": PNG}, "gr\udcf6", "study_id: An id must have"),
        ({"k.image.png": PNG, "k.heatmap.png": PNG, "k.json": b"{}"}, "k", "name no patient"),
    ],
)
def test_what_could_be_two_studies_is_refused_and_harms_no_other(tmp_path, files, place, reason):
    path = tar_of(tmp_path / "t.tar", [*files.items(), ("z.png", PNG)], 0)
    found, _ = found_in(path)
    assert reason in found[place]
    assert found["z"] == ("z", None, 1, None)


def test_a_name_that_comes_twice_in_a_tar_is_refused(tmp_path):
    entries = [("a.png", PNG), ("b.png", PNG), ("a.png", PNG)]
    found, _ = found_in(tar_of(tmp_path / "t.tar", entries))
    assert "twice" in found["a"]
    assert found["b"] == ("b", None, 1, None)


JUNK = {
    "._1.png": b"Mac",
    "__MACOSX/1.png": b"Mac",
    ".DS_Store": b"\0\0\0\1Bud1",
    "x/Thumbs.db": b"",
    ".git/config": b"",
    "notes.md": b"no study",
    "README.txt": b"no study",
}
PASSED = {"hidden files": 5, "files of other kinds": 1, "texts without an image of their name": 1}


def test_junk_is_passed_over_and_counted(tmp_path):
    files = {"1.png": PNG, **JUNK}
    assert found_in(tar_of(tmp_path / "t.tar", files.items())) == (
        {"1": ("1", None, 1, None)},
        PASSED,
    )
    assert found_in(folder_of(tmp_path / "f", files)) == (
        {"1.png": ("1.png", None, 1, None)},
        PASSED,
    )


@pytest.mark.parametrize("name", UNSHOWN)
def test_dicom_objects_without_an_image_are_passed_over_and_counted(tmp_path, name):
    files = {
        "IM1": dicom("1.2.3", "p1"),
        "IM2": dicom("1.2.3", "p1"),
        "dicomdir": unshown(UNSHOWN[name]),
    }
    expected = ({"IM1": ("1.2.3", "p1", 2, None)}, {"DICOM objects without an image": 1})
    assert found_in(tar_of(tmp_path / "t.tar", files.items())) == expected
    assert found_in(folder_of(tmp_path / "f", files)) == expected


def test_images_of_other_modalities_beside_a_radiograph_are_passed_over_and_counted(tmp_path):
    ct = {"SOPClassUID": CTImageStorage, "Modality": "CT"}
    files = {
        "1": dicom("1.2.3", "p1"),
        **{f"CT{n}": dicom("1.2.3", "p1", **ct) for n in range(20)},
        "alone": dicom("1.2.4", "p1", **ct),
    }
    expected = (
        {"1": ("1.2.3", "p1", 1, None), "alone": ("1.2.4", "p1", 1, None)},
        {OTHERS: 20},
    )
    assert found_in(tar_of(tmp_path / "t.tar", files.items())) == expected
    assert found_in(folder_of(tmp_path / "f", files)) == expected


def test_a_damaged_dicom_is_an_image_that_its_decoder_refuses(tmp_path):
    """Nobody can say that it has no pixels."""
    whole = dicom("1.2.3", "p1")
    rows = whole.index(b"\x28\x00\x10\x00")
    files = {"cut.dcm": whole[:150], "no rows": whole[:rows], "text.dcm": b"not a DICOM file"}
    found, passed = found_in(folder_of(tmp_path / "f", files))
    assert [study[2] for study in found.values()] == [1, 1, 1]
    assert passed == {}


def test_a_header_longer_than_most_is_read_whole(tmp_path):
    dataset = dicom_dataset(StudyInstanceUID="1.2.3", PatientID="p1")
    dataset.add_new(0x00090010, "LO", "MAKER")
    dataset.add_new(0x00091001, "OB", bytes(50_000))
    found, _ = found_in(folder_of(tmp_path / "f", {"a": dicom_bytes(dataset)}))
    assert found == {"a": ("1.2.3", "p1", 1, None)}


@pytest.mark.parametrize("first", ["1.png", "1.dcm"])
def test_a_text_of_two_studies_in_a_folder_is_of_neither(tmp_path, first):
    files = {first: PNG, "1.jpg": PNG, "1.txt": b"R.", "2.png": PNG, "2.txt": b"Clear."}
    found, _ = found_in(folder_of(tmp_path / "f", files))
    assert found["2.png"] == ("2.png", None, 1, "Clear.")
    for name in (first, "1.jpg"):
        assert "several studies' images" in found[name]


def test_what_is_no_readable_file_in_a_folder_is_told_and_harms_no_other(tmp_path):
    folder = folder_of(tmp_path / "f", {"1.png": PNG})
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "linked.png").symlink_to(folder_of(tmp_path / "other", {"x.png": PNG}) / "x.png")
    os.mkfifo(folder / "pipe")
    found, _ = found_in(folder)
    assert "cannot be read" in found.pop("gone.png")
    assert "device" in found.pop("pipe")
    assert set(found) == {"1.png", "linked.png"}


def test_links_to_folders_are_followed_and_no_folder_is_read_twice(tmp_path):
    store = folder_of(tmp_path / "store", {"x.png": PNG, "deep/y.png": PNG})
    folder = folder_of(tmp_path / "f", {"real/1.png": PNG})
    for name, target in {
        "a": store,
        "b": store,
        "again": folder / "real",
        "loop": folder,
        "up": tmp_path,
    }.items():
        (folder / name).symlink_to(target)
    (store / "deep" / "loop").symlink_to(store)
    found, passed = found_in(folder)
    assert set(found) == {"a/x.png", "a/deep/y.png", "real/1.png"}
    assert passed == {}


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("1.png", True),
        ("./1.png", True),
        ("ward/../1.png", True),
        ("linked.png", True),
        ("ward/x.png", True),
        ("{folder}/1.png", True),
        ("{folder}/linked.png", True),
        ("{other}/x.png", False),
        ("../other/x.png", False),
        ("ward/../../other/x.png", False),
    ],
)
def test_an_image_lies_in_the_folder_of_its_manifest_or_is_linked_there(
    tmp_path, monkeypatch, name, within
):
    """On clusters a data set's folder is often links into a store. Only paths must not lead out."""
    other = folder_of(tmp_path / "other", {"x.png": PNG})
    folder = folder_of(tmp_path / "f", {"1.png": PNG})
    (folder / "linked.png").symlink_to(other / "x.png")
    (folder / "ward").symlink_to(other)
    name = name.format(folder=folder, other=other)
    (folder / "s.jsonl").write_text(json.dumps({"study_id": "s1", "images": [name]}))
    (tmp_path / "f2").symlink_to(folder)
    monkeypatch.chdir(other)
    read = open_studies(Path("../f2/s.jsonl")).read
    if within:
        assert read(name) == PNG
    else:
        with pytest.raises(StudyInvalid, match="leaves the manifest's folder"):
            read(name)


def test_a_file_and_a_folder_that_nobody_may_read_are_told(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "f", {"1.png": PNG, "2.png": PNG})
    real, walk = sources.read_file, os.walk

    def refused(at, name, limit=-1, /):
        if name == "2.png":
            raise PermissionError(13, "Permission denied")
        return real(at, name, limit)

    def walked(at, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", str(folder / "ward")))
        return walk(at, followlinks=followlinks)

    monkeypatch.setattr(sources, "read_file", refused)
    monkeypatch.setattr(os, "walk", walked)
    found, _ = found_in(folder)
    assert found.pop("1.png") == ("1.png", None, 1, None)
    assert set(found) == {"2.png", "ward"}
    assert all("Permission denied" in reason for reason in found.values())


def test_links_and_devices_in_a_tar_are_told_unless_hidden(tmp_path):
    links = [special("x.png", b"2"), special("._y.png", b"2"), special("d", b"5")]
    found, passed = found_in(tar_of(tmp_path / "t.tar", [*links, ("a.png", PNG)]))
    assert "a link" in found.pop("x.png")
    assert found == {"a": ("a", None, 1, None)}
    assert passed == {"hidden files": 1}


def test_a_manifest_without_a_patient_takes_the_one_of_its_dicom_files(tmp_path):
    files = {"a.dcm": dicom("1.2", "p1"), "b.dcm": dicom("1.2", "p2"), "c.png": PNG}
    folder = folder_of(tmp_path, files)
    rows = [
        {"study_id": "s1", "images": ["a.dcm"]},
        {"study_id": "s2", "images": ["a.dcm", "c.png"]},
        {"study_id": "s3", "images": ["a.dcm", "b.dcm"]},
        {"study_id": "s4", "images": ["gone.dcm", "../a.dcm"]},
        {"study_id": "s5", "images": ["a.dcm"], "patient_id": "mine"},
    ]
    (folder / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    studies = [found.study for found in open_studies(folder / "s.jsonl").found]
    assert [s.patient_id for s in studies if isinstance(s, StudyLine)] == ["p1", "p1", None, "mine"]
    assert "several patients" in studies[2].detail


@pytest.mark.parametrize("name", ["s.xlsx", "s.tar.gz", "s.tgz", "s.jsonl.gz", "s.json", "s"])
def test_another_kind_of_file_is_refused_with_the_kinds_there_are(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(SourceUnreadable, match=r"\.parquet.*unpack"):
        open_studies(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SourceUnreadable, match="No such file"):
        open_studies(tmp_path / "s.jsonl")
