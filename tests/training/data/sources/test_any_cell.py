"""Whatever one cell holds, a reader gives studies or an error with file, row and column."""

import csv
import io

import pytest

from tests.training.data.sources import test_chexpert as chexpert
from tests.training.data.sources import test_mimic_cxr as mimic
from tests.training.data.sources import test_nih_cxr14 as nih
from tests.training.data.sources import test_open_i as open_i
from training.data.gather import gather
from training.data.sources import SOURCES
from training.data.study import DataError

CELLS = [
    "",
    "nan",
    "x",
    "-7",
    "1e400",
    "0.5",
    "a,b;c|d/e",
    "\0",
    "../up.png",
    "é\n",
    " 1.0 ",
    "1E+07",
]
LAYOUTS = {
    "chexpert": {"train.csv": [chexpert.row("train/patient00001/study1/view1_frontal.jpg")]},
    "mimic_cxr": {
        "mimic-cxr-2.0.0-metadata.csv": [mimic.image("1", "aa", "AP")],
        "mimic-cxr-2.0.0-chexpert.csv": [mimic.labels("1")],
        "mimic-cxr-2.0.0-split.csv": [mimic.split("1", "aa", "train")],
    },
    "nih_cxr14": {
        "Data_Entry_2017.csv": [nih.entry(nih.NAMES[0], "Mass")],
    },
    "open_i": {
        "indiana_reports.csv": [open_i.row("1", findings="Clear.")],
        "indiana_projections.csv": [{"uid": "1", "filename": "a.png", "projection": "Frontal"}],
    },
    "covid_chestxray": {
        "metadata.csv": [
            {
                "patientid": "7",
                "finding": "COVID-19",
                "view": "PA",
                "modality": "X-ray",
                "filename": "a.jpg",
                "clinical_notes": "Cough.",
            }
        ]
    },
    "pediatric_pneumonia": {
        "labels.csv": [
            {"filename": "a.jpg", "label": "normal", "subtype": "virus", "patient": "1"},
        ]
    },
    "rsna_pneumonia": {
        "stage_2_train_labels.csv": [{"patientId": "a", "Target": "1"}],
        "stage_2_detailed_class_info.csv": [{"patientId": "a", "class": "Normal"}],
    },
    "siim_acr": {"stage_2_train.csv": [{"ImageId": "a", "EncodedPixels": "9 2 7 1"}]},
    "egd_cxr": {
        "master_sheet.csv": [
            {"dicom_id": "a" * 9, "path": "files/p/p/s/aaaaaaaaa.dcm", "patient_id": "1"}
            | {f"image_{side}_pad": "0" for side in ("left", "right", "top", "bottom")}
        ],
        "fixations.csv": [
            {"DICOM_ID": "a" * 9, "FPOGX": ".5", "FPOGY": ".5", "FPOGD": ".1", "FPOGV": "1"}
        ],
    },
}
FILES = [
    "train/patient00001/study1/view1_frontal.jpg",
    f"{mimic.FOLDER}/s1/aa.jpg",
    f"images/{nih.NAMES[0]}",
    "images/a.jpg",
    "images/images_normalized/a.png",
    "files/p/p/s/aaaaaaaaa.jpg",
    "up.png",
]
TEXTS = {
    f"{mimic.FOLDER}/s1.txt": mimic.REPORT,
    "files/p/p/s.txt": mimic.REPORT,
    "train_val_list.txt": nih.NAMES[0],
    "test_list.txt": "",
    "siim_acr_gaze.json": "[]",
}
CHANGES = [
    (source, table, column)
    for source, layout in LAYOUTS.items()
    for table, (row,) in layout.items()
    for column in row
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with an image and a report of every data set, to which tables are added."""
    root = tmp_path_factory.mktemp("any cell")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"image")
    for name, text in TEXTS.items():
        (root / name).write_text(text)
    return root


def save(path, rows):
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(file.getvalue(), encoding="utf-8")


def complaint(source, root):
    """What a reader says against the tables; None if it reads them."""
    try:
        gather(SOURCES[source](root))
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("source", "table", "column"), CHANGES)
def test_any_cell_is_read_or_named(images, source, table, column):
    for name, rows in LAYOUTS[source].items():
        save(images / name, rows)
    assert complaint(source, images) is None
    for cell in CELLS:
        (row,) = LAYOUTS[source][table]
        save(images / table, [row | {column: cell}])
        said = complaint(source, images)
        assert said is None or table in said or "outside of the data set's folder" in said


@pytest.mark.parametrize(("source", "table", "column"), CHANGES)
def test_a_column_that_is_missing_is_named_or_not_needed(images, source, table, column):
    for name, rows in LAYOUTS[source].items():
        save(images / name, rows)
    (row,) = LAYOUTS[source][table]
    save(images / table, [{name: cell for name, cell in row.items() if name != column}])
    said = complaint(source, images)
    assert said is None or f"{table} has no column {column};" in said
