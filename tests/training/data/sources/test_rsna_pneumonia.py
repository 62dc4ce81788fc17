import logging
import warnings

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from service.imaging.libraries import decoding
from training.data.sources.rsna_pneumonia import studies
from training.data.study import DataError
from training.evaluate.findings import Findings


def write_dicom(path, view):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    if view:
        header.ViewPosition = view
    header.save_as(path, enforce_file_format=True)


@pytest.fixture
def root(write):
    box = {"patientId": "sick", "x": "264.0", "y": "152.0", "width": "213.0", "height": "379.0"}
    nothing = {"x": "", "y": "", "width": "", "height": "", "Target": "0"}
    root = write(
        {
            "stage_2_train_labels.csv": [
                {**box, "Target": "1"},
                {**box, "x": "562.0", "Target": "1"},
                {"patientId": "well", **nothing},
                {"patientId": "other", **nothing},
            ],
            "stage_2_detailed_class_info.csv": [
                {"patientId": "sick", "class": "Lung Opacity"},
                {"patientId": "sick", "class": "Lung Opacity"},
                {"patientId": "well", "class": "Normal"},
                {"patientId": "other", "class": "No Lung Opacity / Not Normal"},
            ],
        }
    )
    for name, view in (("sick", "AP"), ("well", "PA"), ("other", None)):
        write_dicom(root / "stage_2_train_images" / f"{name}.dcm", view)
    return root


def test_each_image_is_one_study_however_many_boxes_it_has(root, read):
    found, skipped = read(studies(root))
    assert list(found) == ["sick", "well", "other"]
    assert found["sick"].images == ("stage_2_train_images/sick.dcm",)
    assert found["sick"].patient_id == "sick"
    assert found["sick"].report == ""
    assert not skipped


def test_a_target_is_pneumonia_and_only_the_normal_have_no_finding(root, read):
    found, _ = read(studies(root))
    assert [study.findings for study in found.values()] == [("pneumonia",), ("no finding",), ()]
    assert found["other"].metadata == {"class": "no lung opacity / not normal"}


def test_every_image_is_of_one_of_two_classes(root, read):
    """Target is the truth for all images: who is ill without pneumonia is of the other class."""
    found, _ = read(studies(root))
    pneumonia = Findings.of(list(found.values()), ["pneumonia"])
    assert pneumonia.known.all()
    assert pneumonia.there[:, 0].tolist() == [True, False, False]


def test_the_view_is_the_dicom_headers(root, read):
    found, _ = read(studies(root))
    assert [study.view for study in found.values()] == ["AP", "PA", None]


def test_a_header_is_never_quoted(root, read, caplog):
    path = root / "stage_2_train_images" / "sick.dcm"
    with decoding:
        header = dcmread(path)
        header.add_new("SpecificCharacterSet", "CS", "JANE DOE")
        header.save_as(path)
    with warnings.catch_warnings(record=True) as shown, caplog.at_level(logging.DEBUG, "pydicom"):
        warnings.simplefilter("always")
        found, _ = read(studies(root))
    assert found["sick"].view == "AP"
    assert [str(warning.message) for warning in shown] == []
    assert caplog.messages == []


def test_images_that_are_missing_or_broken_are_counted(root, read):
    (root / "stage_2_train_images" / "sick.dcm").unlink()
    (root / "stage_2_train_images" / "well.dcm").write_bytes(b"x" * 200)
    found, skipped = read(studies(root))
    assert list(found) == ["other"]
    assert skipped == {"no image file": 1, "image is not a DICOM file": 1}


def rewrite(root, name, *changes):
    path = root / name
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)


def test_tables_that_were_saved_again_are_read(root, read):
    rewrite(root, "stage_2_train_labels.csv", (",1\n", ",1.0\n"), (",0\n", ",0.0\n"))
    rewrite(root, "stage_2_detailed_class_info.csv", ("Normal", "normal "), ("class", "Class"))
    found, _ = read(studies(root))
    assert [study.findings for study in found.values()] == [("pneumonia",), ("no finding",), ()]


def test_one_box_of_several_rows_is_a_finding(root, read):
    with (root / "stage_2_train_labels.csv").open("a") as file:
        file.write("sick,,,,,0\n")
    found, _ = read(studies(root))
    assert found["sick"].findings == ("pneumonia",)


def test_a_patient_without_a_class_is_counted(root, read):
    rewrite(root, "stage_2_detailed_class_info.csv", ("well", "unwell"))
    found, skipped = read(studies(root))
    assert "well" not in found
    assert skipped == {"no class": 1}


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("stage_2_train_labels.csv", (",1\n", ",2\n"), "row 2, column Target: '2' is none of"),
        ("stage_2_detailed_class_info.csv", ("Normal", "Well"), "column class: 'Well' is none of"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(root, table, change, said):
    rewrite(root, table, change)
    with pytest.raises(DataError, match=f"{table}, .*{said}"):
        list(studies(root))


@pytest.mark.parametrize("seed", range(20))
def test_a_header_that_is_damaged_anywhere_is_read_or_counted(root, read, seed):
    path = root / "stage_2_train_images" / "sick.dcm"
    rng = np.random.default_rng(seed)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = rng.integers(128, len(data), 6)
    data[places] = rng.integers(0, 256, 6)
    path.write_bytes(data[: rng.integers(132, len(data))].tobytes())
    found, skipped = read(studies(root))
    assert ("sick" in found) + skipped["image is not a DICOM file"] == 1
