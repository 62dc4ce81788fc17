import pytest

from training.data.labels import CHEXPERT, uncertain
from training.data.sources import read_source
from training.data.sources.chexpert import REPORTS, studies
from training.data.study import DataError


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


def test_lateral_images_are_studies_of_their_own_where_they_are_asked_for(write, read, layout):
    layout["train/patient00001/study2/view1_lateral.jpg"] = None
    root = write(layout)
    frontal, _ = read(studies(root))
    found, skipped = read(read_source("chexpert", root, lateral=True))
    assert found.items() >= frontal.items()
    lateral = {study: found[study] for study in found.keys() - frontal.keys()}
    assert lateral.keys() == {"patient00001-study1-lateral", "patient00001-study2-lateral"}
    assert lateral["patient00001-study1-lateral"].images == (
        "train/patient00001/study1/view2_lateral.jpg",
    )
    assert {study.patient_id for study in lateral.values()} == {"patient00001"}
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


IMAGE = "train/patient00001/study1/view1_frontal.jpg"


@pytest.fixture
def changed(write, read, layout):
    """Reads the data set with other cells in the first row."""

    def changed(**cells):
        layout["train.csv"][0] |= cells
        found, _ = read(studies(write(layout)))
        return found["patient00001-study1"]

    return changed


@pytest.mark.parametrize(
    ("age", "read_as"),
    [("68", 68), ("68.0", 68), (" 68 ", 68), ("0", 0), ("", None), ("nan", None), ("NaN", None)],
)
def test_an_age_may_be_a_decimal_number_or_unknown(changed, age, read_as):
    assert changed(Age=age).metadata.get("age") == read_as


@pytest.mark.parametrize(
    ("label", "verdict"),
    [
        *dict.fromkeys(("1", "1.0", "1.00", " 1.0 "), "present").items(),
        *dict.fromkeys(("-1", "-1.0", "u", "U"), "uncertain").items(),
        *dict.fromkeys(("0", "0.0", "-0.0", "", "nan", "NaN"), "neither").items(),
    ],
)
def test_a_label_is_read_however_it_is_written(changed, label, verdict):
    study = changed(Pneumonia=label)
    assert ("pneumonia" in study.findings) == (verdict == "present")
    assert ("pneumonia" in uncertain(study)) == (verdict == "uncertain")


@pytest.mark.parametrize(
    "path",
    [
        f"CheXpert-v1.0-small/{IMAGE}",
        f"CheXpert-v1.0/{IMAGE}",
        IMAGE,
        f"./data/CheXpert-v1.0/{IMAGE}",
        f"/{IMAGE}",
        "CheXpert-v1.0-small\\" + IMAGE.replace("/", "\\"),
    ],
)
def test_a_path_may_begin_anywhere_and_be_of_windows(changed, path):
    assert changed(Path=path).images == (IMAGE,)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"Age": "old"}, "column Age: 'old' is not a number"),
        ({"Pneumonia": "2"}, "column Pneumonia: '2' is not a label"),
        ({"Pneumonia": "yes"}, "column Pneumonia: 'yes' is not a number"),
        ({"Frontal/Lateral": "Back"}, "column Frontal/Lateral: 'Back' is none of frontal, lateral"),
        ({"Path": ""}, "column Path: the cell is blank"),
        ({"Path": "view1_frontal.jpg"}, "column Path: it is not a path such as"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(changed, cells, said):
    with pytest.raises(DataError, match=f"train.csv, row 2, {said}"):
        changed(**cells)


def test_a_table_that_is_missing_is_counted_and_both_are_refused(write, read, layout):
    del layout["valid.csv"]
    root = write(layout)
    found, skipped = read(studies(root))
    assert {study.split for study in found.values()} == {"train"}
    assert skipped["no table valid.csv"] == 1
    (root / "train.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"none of train\.csv, valid\.csv"):
        list(studies(root))


def test_a_row_that_is_repeated_adds_no_image(write, read, layout):
    layout["train.csv"] += layout["train.csv"][:1]
    found, _ = read(studies(write(layout)))
    assert found["patient00001-study1"].images == (IMAGE,)


def test_a_row_of_blanks_is_a_study_that_was_not_labelled(changed):
    assert changed(**dict.fromkeys(CHEXPERT, "")).findings is None
    assert changed(**dict.fromkeys(CHEXPERT, "nan")).findings is None
    assert changed(**dict.fromkeys(CHEXPERT, "") | {"Edema": "-1"}).findings == ()
    assert changed(**dict.fromkeys(CHEXPERT, "") | {"Edema": "0"}).findings == ()
