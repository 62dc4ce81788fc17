import pytest

from training.data.labels import CHEXPERT, uncertain
from training.data.sources.mimic_cxr import studies

FOLDER = "files/p10/p10000032"
REPORT = "                FINAL REPORT\n FINDINGS:\n\n Clear lungs.\n\n IMPRESSION:  Normal.\n"


def image(study, dicom, view):
    return {"dicom_id": dicom, "subject_id": "10000032", "study_id": study, "ViewPosition": view}


def labels(study, **values):
    blank = dict.fromkeys(CHEXPERT, "")
    return {"subject_id": "10000032", "study_id": study, **blank, **values}


def split(study, dicom, name):
    return {"dicom_id": dicom, "study_id": study, "subject_id": "10000032", "split": name}


@pytest.fixture
def layout():
    """Two studies: one frontal twice and lateral, one lateral only."""
    return {
        "mimic-cxr-2.0.0-metadata.csv": [
            image("50414267", "aa", "AP"),
            image("50414267", "bb", "LATERAL"),
            image("50414267", "cc", "PA"),
            image("53189527", "dd", "LL"),
        ],
        "mimic-cxr-2.0.0-chexpert.csv.gz": [
            labels("50414267", **{"Pleural Effusion": "1.0", "Edema": "-1.0", "Fracture": "0.0"}),
            labels("53189527", **{"No Finding": "1.0"}),
        ],
        "mimic-cxr-2.0.0-split.csv.gz": [
            split("50414267", "aa", "validate"),
            split("53189527", "dd", "train"),
        ],
        f"{FOLDER}/s50414267/aa.jpg": None,
        f"{FOLDER}/s50414267/bb.jpg": None,
        f"{FOLDER}/s50414267/cc.jpg": None,
        f"{FOLDER}/s53189527/dd.jpg": None,
        f"{FOLDER}/s50414267.txt": REPORT,
        f"{FOLDER}/s53189527.txt": REPORT,
    }


def test_a_study_is_its_frontal_images_and_what_its_report_describes(write, read, layout):
    found, skipped = read(studies(write(layout)))
    (study,) = found.values()
    assert study.study_id == "50414267"
    assert study.patient_id == "10000032"
    assert study.source == "mimic_cxr"
    assert study.images == (f"{FOLDER}/s50414267/cc.jpg", f"{FOLDER}/s50414267/aa.jpg")
    assert study.view == "PA"
    assert study.report == "FINDINGS: Clear lungs. IMPRESSION: Normal."
    assert study.findings == ("pleural effusion",)
    assert uncertain(study) == {"edema"}
    assert study.split == "validation"
    assert skipped == {"no image of view PA or AP": 1}


def test_other_views_are_read_where_they_are_asked_for(write, read, layout):
    found, skipped = read(studies(write(layout), views=("LATERAL", "LL")))
    assert {study.view for study in found.values()} == {"LATERAL", "LL"}
    assert found["53189527"].findings == ("no finding",)
    assert not skipped


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({f"{FOLDER}/s50414267/aa.jpg": ..., f"{FOLDER}/s50414267/cc.jpg": ...}, "no image file"),
        ({f"{FOLDER}/s50414267.txt": ...}, "no report file"),
        ({f"{FOLDER}/s50414267.txt": " FINAL REPORT\n\n"}, "empty report"),
    ],
    ids=["image", "report", "text"],
)
def test_what_a_partial_download_lacks_is_counted(write, read, layout, change, reason):
    layout = {name: content for name, content in (layout | change).items() if content is not ...}
    found, skipped = read(studies(write(layout)))
    assert not found
    assert skipped[reason] == 1


def test_a_view_whose_file_is_missing_leaves_the_others(write, read, layout):
    del layout[f"{FOLDER}/s50414267/cc.jpg"]
    found, _ = read(studies(write(layout)))
    assert found["50414267"].images == (f"{FOLDER}/s50414267/aa.jpg",)
    assert found["50414267"].view == "AP"


def test_a_study_that_the_labeller_left_out_is_unlabelled(write, read, layout):
    del layout["mimic-cxr-2.0.0-chexpert.csv.gz"][0]
    found, _ = read(studies(write(layout)))
    assert found["50414267"].findings is None
    assert found["50414267"].metadata == {}
