import pytest

from training.data.labels import CHEXPERT, uncertain
from training.data.sources.mimic_cxr import studies
from training.data.study import DataError

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


def test_other_views_are_studies_of_their_own_where_they_are_asked_for(write, read, layout):
    root = write(layout)
    frontal, _ = read(studies(root))
    found, skipped = read(studies(root, lateral=True))
    assert found.items() >= frontal.items()
    lateral = {study: found[study] for study in found.keys() - frontal.keys()}
    assert {study: (s.view, s.images) for study, s in lateral.items()} == {
        "50414267-lateral": ("LATERAL", (f"{FOLDER}/s50414267/bb.jpg",)),
        "53189527-lateral": ("LL", (f"{FOLDER}/s53189527/dd.jpg",)),
    }
    assert found["53189527-lateral"].findings == ("no finding",)
    assert skipped == {"no image of view PA or AP": 1}


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


def test_a_table_without_any_of_the_studies_labels_none_of_them(write, read, layout):
    layout["mimic-cxr-2.0.0-chexpert.csv.gz"] = [labels("1", **{"Edema": "1.0"})]
    found, _ = read(studies(write(layout)))
    assert found["50414267"].findings is None


def test_ids_that_were_saved_as_numbers_match(write, read, layout):
    for name in ("chexpert", "split"):
        for row in layout[f"mimic-cxr-2.0.0-{name}.csv.gz"]:
            row["study_id"] += ".0"
    for row in layout["mimic-cxr-2.0.0-metadata.csv"]:
        row["subject_id"] += ".0"
    found, _ = read(studies(write(layout)))
    study = found["50414267"]
    assert (study.patient_id, study.split) == ("10000032", "validation")
    assert study.findings == ("pleural effusion",)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("FINDINGS: 37°, clear.".encode("latin-1"), None),
        ("FINDINGS: clear.".encode("utf-16"), None),
        (b"", None),
        ("\ufeffFINDINGS: 37°, clear.\r\n".encode(), "FINDINGS: 37°, clear."),
    ],
    ids=["latin-1", "utf-16", "zero bytes", "byte order mark"],
)
def test_a_report_that_cannot_be_read_is_counted(write, read, layout, report, said):
    layout[f"{FOLDER}/s50414267.txt"] = report
    found, skipped = read(studies(write(layout)))
    assert [study.report for study in found.values()] == ([said] if said else [])
    assert skipped["report is not UTF-8 text"] + skipped["empty report"] == (not said)


def test_a_split_that_is_none_of_the_three_is_named(write, layout):
    layout["mimic-cxr-2.0.0-split.csv.gz"][1]["split"] = "holdout"
    said = r"split\.csv\.gz, row 3, column split: 'holdout' is none of train, validate, test"
    with pytest.raises(DataError, match=said):
        list(studies(write(layout)))


def test_a_table_that_is_missing_is_named(write, layout):
    del layout["mimic-cxr-2.0.0-chexpert.csv.gz"]
    with pytest.raises(FileNotFoundError, match=r"mimic-cxr-2\.0\.0-chexpert\.csv"):
        list(studies(write(layout)))
