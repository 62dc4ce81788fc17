import csv
import gzip
from dataclasses import replace

import pytest

from training.data.sources import read_source
from training.data.study import DataError, ManifestStudy
from training.data.subset_lists import listed, names_of
from training.data.subsets import SUBSETS, choose, draw

FRONTAL, SECOND, LATERAL = (
    f"train/patient00001/study1/{view}.jpg"
    for view in ("view1_frontal", "view2_frontal", "view3_lateral")
)


def study(number, *images, source="chexpert", **fields):
    return ManifestStudy(f"s{number}", f"p{number}", source, images, "", **fields)


STUDIES = [
    study(1, FRONTAL, SECOND, view="PA"),
    replace(study(1, LATERAL), study_id="s1-lateral"),
    study(2, "train/patient00002/study1/view1_frontal.jpg", view="AP"),
]


def table(path, *rows, opened=open):
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    "name",
    [
        SECOND,
        f"CheXpert-v1.0/{SECOND}",
        f"/mnt/data/CheXpert-v1.0-small/{SECOND}",
        "CheXpert-v1.0-small\\" + SECOND.replace("/", "\\"),
        SECOND.replace(".jpg", ".png"),
        "view2_frontal.jpg",
    ],
)
def test_an_image_is_found_by_its_path_or_by_a_name_that_no_other_has(name):
    (chosen,) = listed([name], STUDIES)
    assert (chosen.study_id, chosen.images, chosen.view) == ("s1", (SECOND,), None)


def test_each_listed_image_is_a_study_of_its_own():
    chosen = listed([LATERAL, FRONTAL], STUDIES)
    assert [s.study_id for s in chosen] == ["s1", "s1-lateral"]
    assert [s.images for s in chosen] == [(FRONTAL,), (LATERAL,)]
    assert [s.view for s in chosen] == ["PA", None]
    assert {s.patient_id for s in chosen} == {"p1"}


def test_a_study_that_is_named_by_its_id_is_taken_whole():
    assert listed(["s1", FRONTAL], STUDIES) == STUDIES[:1]


def test_images_of_mimic_are_found_by_dicom_id_as_dicom_or_jpeg():
    image = "files/p10/p10000032/s50414267/aa-bb.jpg"
    mimic = [study(50414267, image, source="mimic_cxr")]
    for name in ("aa-bb", "aa-bb.dcm", f"MIMIC-CXR/2.0.0/{image.replace('.jpg', '.dcm')}"):
        assert [s.images for s in listed([name], mimic)] == [(image,)]


@pytest.mark.parametrize(
    "name", ["s9", "view1_frontal.jpg", "x/view2_frontal.jpg", "patient00001/study1"]
)
def test_a_name_of_nothing_or_of_several_is_counted(name):
    with pytest.raises(DataError, match="1 of the 2 names in the list name no study") as raised:
        listed(["s1", name], STUDIES)
    assert f"for example {name!r}" in str(raised.value)


@pytest.mark.parametrize(
    "column",
    ["Path", "image_path", "dicom_id", "Image Index", "ImageId", "patientId", "study_id"],
)
def test_a_published_table_is_read_by_its_column(tmp_path, column):
    """GLoRIA's has an index, labels, and reports that run over several lines."""
    rows = [["", column, "Edema", "Report"], ["17", SECOND, "1.0", "Edema.\nStable."]]
    assert names_of(table(tmp_path / "list.csv", *rows)) == [SECOND]
    assert names_of(table(tmp_path / "list.csv.gz", *rows, opened=gzip.open)) == [SECOND]


def test_tabs_may_separate_the_cells(tmp_path):
    (tmp_path / "list.tsv").write_text(f"Path\tEdema\n{SECOND}\t1\n")
    assert names_of(tmp_path / "list.tsv") == [SECOND]


def test_a_dicom_id_is_preferred_to_a_path_that_stands_for_all(tmp_path):
    """BenchX's mimic_5x200_ids.csv has the same path in each row."""
    rows = [["Path", "dicom_id", "subject_id", "study_id"], ["path/of/images", "aa-bb", "10", "50"]]
    assert names_of(table(tmp_path / "list.csv", *rows)) == ["aa-bb"]


def test_ids_that_were_saved_as_numbers_are_read(tmp_path):
    assert names_of(table(tmp_path / "list.csv", ["study_id"], ["50414267.0"])) == ["50414267"]


def test_an_image_is_preferred_to_the_study_that_it_is_of(tmp_path):
    rows = [["subject_id", "study_id", "dicom_id"], ["10", "50", "aa-bb"]]
    assert names_of(table(tmp_path / "list.csv", *rows)) == ["aa-bb"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.csv", "name,label\na,b\n", "list.csv has none of the columns dicom_id, path, "),
        ("list.csv", "Path,label\n,b\n", "list.csv, row 2, column Path: the cell is blank"),
        ("list.csv", "Path,label\n", "list.csv names no study or image; write one a line"),
        ("list.txt", "\n \n", "list.txt names no study or image; write one a line"),
        ("list.txt", "é", "list.txt is not UTF-8 text; save it in that encoding"),
    ],
)
def test_a_list_that_names_nothing_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=said):
        names_of(tmp_path / name)


@pytest.fixture
def real_nih(shared_data, tmp_path):
    """Real images and labels of ChestX-ray14, in the published layout."""
    folder = shared_data / "nih_1000"
    if not folder.is_dir():
        pytest.skip(f"nih_1000 is not in {shared_data}")
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = list(csv.DictReader(file))
    (tmp_path / "images").mkdir()
    header = ["Image Index", "Finding Labels", "Patient ID", "View Position"]
    rows = []
    for row in labels:
        name = row["image"].replace(".jpg", ".png")
        (tmp_path / "images" / name).symlink_to(folder / "images" / row["image"])
        rows.append([name, row["labels"], row["patient"], row["view"]])
    table(tmp_path / "Data_Entry_2017_v2020.csv", header, *rows)
    for split in ("train_val_list.txt", "test_list.txt"):
        (tmp_path / split).write_text("")
    return tmp_path


def test_real_images_are_drawn_by_their_only_label(real_nih):
    studies = list(read_source("nih_cxr14", real_nih))
    rule = replace(SUBSETS["chestxray14-14x100"], findings=("no finding", "pneumonia"), each=40)
    drawn = draw(rule, studies)
    assert [s.findings for s in drawn] == [("no finding",)] * 40 + [("pneumonia",)] * 40
    (real_nih / "drawn.csv").write_text(
        "Image Index\n" + "".join(f"{s.study_id}.png\n" for s in drawn)
    )
    again = choose(str(real_nih / "drawn.csv"), "nih_cxr14", studies)
    assert {s.study_id for s in again} == {s.study_id for s in drawn}
