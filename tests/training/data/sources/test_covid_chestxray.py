import csv

import pytest
from PIL import Image

from training.data.labels import is_labelled
from training.data.sources import read_source
from training.data.sources.covid_chestxray import studies
from training.data.study import Skipped

HEADER = (
    "patientid,offset,sex,age,finding,view,modality,filename,"
    "license,url,doi,clinical_notes,other_notes"
)


def write(root, *rows):
    """metadata.csv and images/ as published; `image: None` lists an image that is not there."""
    (root / "images").mkdir()
    with (root / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, HEADER.split(","), restval="", extrasaction="ignore")
        table.writeheader()
        for number, row in enumerate(rows):
            name = f"{number}.jpg"
            table.writerow(
                {"patientid": "7", "view": "PA", "modality": "X-ray", "filename": name} | row
            )
            if row.get("image", True):
                Image.new("L", (32, 32)).save(root / "images" / name)


def read(root, *rows):
    write(root, *rows)
    return list(studies(root))


def skipped(found):
    return [one.reason for one in found if isinstance(one, Skipped)]


def test_a_radiograph_with_a_note_becomes_a_study(tmp_path):
    (study,) = read(
        tmp_path,
        {
            "patientid": "326b",
            "finding": "Pneumonia/Viral/COVID-19",
            "view": "AP Supine",
            "filename": "0.jpg",
            "clinical_notes": 'Fever, "dry"\n cough;   bilateral opacities. ',
        },
    )
    assert study.study_id == "0"
    assert study.patient_id == "326b"
    assert study.source == "covid_chestxray"
    assert study.images == ("images/0.jpg",)
    assert study.report == 'Fever, "dry" cough; bilateral opacities.'
    assert study.view == "AP Supine"
    assert study.findings == ("covid-19",)


def test_a_view_that_is_not_stated_is_none(tmp_path):
    (study,) = read(tmp_path, {"view": "", "clinical_notes": "Cough."})
    assert study.view is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"clinical_notes": " \n"}, "no clinical note"),
        ({"modality": "CT"}, "not a radiograph"),
        ({"image": None}, "no image file"),
    ],
    ids=str,
)
def test_what_is_no_radiograph_with_a_note_is_passed_over(tmp_path, row, reason):
    passed, kept = read(tmp_path, {"clinical_notes": "x"} | row, {"clinical_notes": "Kept."})
    assert passed == Skipped(reason)
    assert kept.report == "Kept."


@pytest.mark.parametrize(
    ("finding", "findings"),
    [
        ("No Finding", ("no finding",)),
        ("todo", None),
        ("", None),
        ("Pneumonia", ("pneumonia",)),
        ("Pneumonia/Fungal/Pneumocystis", ("pneumocystis",)),
        ("COVID-19, ARDS", ("covid-19", "ards")),
    ],
)
def test_the_findings_are_the_leaves_of_the_hierarchy(tmp_path, finding, findings):
    (study,) = read(tmp_path, {"finding": finding, "clinical_notes": "x"})
    assert study.findings == findings
    assert is_labelled(study) == bool(findings)


def test_the_published_data_set_yields_its_pairs(shared_data):
    root = shared_data / "covid_chestxray"
    if not root.is_dir():
        pytest.skip(f"covid_chestxray is not in {shared_data}")
    everything = list(read_source("covid_chestxray", root))
    found = [one for one in everything if not isinstance(one, Skipped)]
    assert len(found) == 311
    assert skipped(everything) == ["no clinical note"] * 68
    assert len({study.study_id for study in found}) == 311
    assert all((root / study.images[0]).is_file() for study in found)
