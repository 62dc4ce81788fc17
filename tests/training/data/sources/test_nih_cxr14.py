import pytest

from training.data.sources.nih_cxr14 import studies

NAMES = ("00000001_000.png", "00000001_001.png", "00000002_000.png")
LABELS = ("Effusion|Pleural_Thickening|Mass", "No Finding", "Hernia")


def entry(name, labels):
    return {
        "Image Index": name,
        "Finding Labels": labels,
        "Follow-up #": "0",
        "Patient ID": str(int(name.split("_")[0])),
        "Patient Age": "58",
        "Patient Gender": "M",
        "View Position": "PA",
    }


@pytest.fixture
def layout():
    return {
        "Data_Entry_2017.csv": [entry(*row) for row in zip(NAMES, LABELS, strict=True)],
        "train_val_list.txt": "\n".join(NAMES[:2]) + "\n",
        "test_list.txt": NAMES[2],
        f"images_001/images/{NAMES[0]}": None,
        f"images_012/images/{NAMES[2]}": None,
    }


def test_each_image_is_a_study_in_its_official_split(write, read, layout):
    found, skipped = read(studies(write(layout)))
    study = found["00000001_000"]
    assert study.patient_id == "1"
    assert study.source == "nih_cxr14"
    assert study.images == ("images_001/images/00000001_000.png",)
    assert study.report == ""
    assert study.view == "PA"
    assert study.findings == ("pleural effusion", "pleural thickening", "mass")
    assert [s.split for s in found.values()] == ["train", "test"]
    assert skipped == {"no image file": 1}


def test_images_may_lie_in_one_folder(write, read, layout):
    layout[f"images/{NAMES[1]}"] = None
    found, _ = read(studies(write(layout)))
    assert found["00000001_001"].images == ("images/00000001_001.png",)
    assert found["00000001_001"].findings == ("no finding",)


def test_the_revised_labels_come_first(write, read, layout):
    layout["Data_Entry_2017_v2020.csv"] = [entry(NAMES[0], "Nodule")]
    found, _ = read(studies(write(layout)))
    assert [study.findings for study in found.values()] == [("nodule",)]


@pytest.mark.parametrize(
    ("labels", "findings"),
    [
        (" Effusion | Pleural_Thickening ", ("pleural effusion", "pleural thickening")),
        ("EFFUSION|pleural thickening", ("pleural effusion", "pleural thickening")),
        ("No Finding|Mass", ("mass",)),
        ("no finding", ("no finding",)),
        ("Mass|Mass|", ("mass",)),
        ("", None),
        ("nan", None),
    ],
)
def test_labels_are_read_however_they_are_written(write, read, layout, labels, findings):
    layout["Data_Entry_2017.csv"][0] |= {"Finding Labels": labels, "Patient ID": "1.0"}
    found, _ = read(studies(write(layout)))
    assert found["00000001_000"].findings == findings
    assert found["00000001_000"].patient_id == "1"


@pytest.mark.parametrize("missing", ["test_list.txt", "Data_Entry_2017.csv"])
def test_a_file_that_is_missing_is_named(write, layout, missing):
    del layout[missing]
    with pytest.raises(FileNotFoundError, match=missing):
        list(studies(write(layout)))
