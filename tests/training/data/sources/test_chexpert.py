import pytest

from training.data.labels import CHEXPERT, uncertain
from training.data.sources.chexpert import REPORTS, studies


def row(path, view="Frontal", projection="AP", **labels):
    return {
        "Path": f"CheXpert-v1.0-small/{path}",
        "Sex": "Female",
        "Age": "68",
        "Frontal/Lateral": view,
        "AP/PA": projection if view == "Frontal" else "",
        **dict.fromkeys(CHEXPERT, ""),
        **labels,
    }


FIRST = {"Cardiomegaly": "1.0", "Edema": "-1.0", "Pneumonia": "0.0"}


@pytest.fixture
def layout():
    return {
        "train.csv": [
            row("train/patient00001/study1/view1_frontal.jpg", **FIRST),
            row("train/patient00001/study1/view2_lateral.jpg", "Lateral", **FIRST),
            row("train/patient00001/study2/view1_lateral.jpg", "Lateral"),
            row("train/patient00002/study1/view1_frontal.jpg", projection=""),
        ],
        "valid.csv": [row("valid/patient64541/study1/view1_frontal.jpg", projection="PA")],
        "train/patient00001/study1/view1_frontal.jpg": None,
        "train/patient00001/study1/view2_lateral.jpg": None,
        "valid/patient64541/study1/view1_frontal.jpg": None,
    }


def test_a_study_is_its_frontal_images_with_labels_and_no_report(write, read, layout):
    found, skipped = read(studies(write(layout)))
    study = found["patient00001-study1"]
    assert study.patient_id == "patient00001"
    assert study.source == "chexpert"
    assert study.images == ("train/patient00001/study1/view1_frontal.jpg",)
    assert study.report == ""
    assert study.view == "AP"
    assert study.findings == ("cardiomegaly",)
    assert uncertain(study) == {"edema"}
    assert study.metadata == {"sex": "female", "age": 68, "uncertain": "edema"}
    assert study.split == "train"
    assert skipped == {"no frontal view": 1, "no image file": 1}


def test_the_published_validation_set_keeps_its_place(write, read, layout):
    found, _ = read(studies(write(layout)))
    assert found["patient64541-study1"].split == "validation"
    assert found["patient64541-study1"].view == "PA"


def test_a_projection_that_is_not_stated_is_none(write, read, layout):
    layout["train/patient00002/study1/view1_frontal.jpg"] = None
    found, _ = read(studies(write(layout)))
    assert found["patient00002-study1"].view is None


def test_reports_of_chexpert_plus_are_read_where_they_are_there(write, read, layout):
    layout[REPORTS] = [
        {
            "path_to_image": "train/patient00001/study1/view1_frontal.jpg",
            "section_findings": "",
            "section_impression": "\n1. Heart\n enlarged.",
        }
    ]
    found, _ = read(studies(write(layout)))
    assert found["patient00001-study1"].report == "IMPRESSION: 1. Heart enlarged."
    assert found["patient64541-study1"].report == ""
