import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.data.sources.test_rsna_pneumonia import write_dicom
from training.data.gaze import Sigma, heatmap
from training.data.sources import read_source
from training.data.sources.siim_acr import GAZE, studies
from training.data.study import DataError, Gaze, ManifestStudy

FIRST, SECOND, THIRD = (f"1.2.276.0.7230010.3.1.4.8323329.{n}.1517875169.2" for n in (7, 8, 9))
"""Ids with the points of a SOP Instance UID."""


def looked(image_id=FIRST, x=(0.25, 0.5), y=(0.5, 0.75), time=(1, 3)):
    return {"image_id": image_id, "gaze_x": list(x), "gaze_y": list(y), "time": list(time)}


def gaze_file(*readings):
    return {GAZE: json.dumps(readings)}


def mask(image_id, runs):
    return {"ImageId": image_id, " EncodedPixels": runs}


def refusal(root):
    with pytest.raises(DataError) as refused:
        list(studies(root))
    return str(refused.value)


def test_gaze_without_images_becomes_studies(write, read):
    found, skipped = read(studies(write(gaze_file(looked(), looked(SECOND)))))
    assert list(found) == [FIRST, SECOND]
    assert not skipped
    assert found[FIRST].images == ()
    assert found[FIRST].findings is None
    assert found[FIRST].gaze == (Gaze((0.25, 0.5), (0.5, 0.75), (1000 / 60, 3000 / 60)),)


def test_fixations_beside_the_image_are_left_out(write, read):
    beside = looked(x=(1.07, 0.5, 0.2), y=(0.5, 1.01, 0.3), time=(1, 1, 1))
    away = looked(SECOND, x=(1.2,), y=(0.5,), time=(5,))
    found, _ = read(studies(write(gaze_file(beside, away))))
    assert found[FIRST].gaze == (Gaze((0.2,), (0.3,), (1000 / 60,)),)
    assert found[SECOND].gaze == ()


def test_images_are_found_in_the_folders_of_the_challenge(write, read):
    layout = gaze_file(looked(), looked(SECOND))
    layout |= {
        f"png/{FIRST}.png": None,
        f"png/{SECOND}.png": None,
        f"png_masks/{SECOND}.png": None,
    }
    root = write(layout)
    own = f"dicom-images-train/1.2.9/1.2.8/{FIRST}.dcm"
    write_dicom(root / own, "PA")
    found, _ = read(studies(root))
    assert found[FIRST].images == (own,)
    assert found[FIRST].view == "PA"
    assert found[SECOND].images == (f"png/{SECOND}.png",)
    assert found[SECOND].view is None


@pytest.mark.parametrize("table", ["train-rle.csv", "stage_2_train.csv"])
def test_an_image_with_a_mask_has_a_pneumothorax(write, read, table):
    """Several masks are several rows; -1 says that there is none."""
    rows = [
        mask(FIRST, "387620 23 996 33"),
        mask(FIRST, "12 5"),
        mask(SECOND, " -1"),
        mask(THIRD, "-1"),
    ]
    root = write(gaze_file(looked()) | {table: rows, f"{SECOND}.png": None})
    found, skipped = read(studies(root))
    assert found[FIRST].findings == ("pneumothorax",)
    assert found[SECOND].findings == ()
    assert found[SECOND].gaze == ()
    assert skipped == {"no image file": 1}


@given(st.lists(st.tuples(st.sampled_from((FIRST, SECOND)), st.sampled_from(("-1", "12 5")))))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_image_has_a_pneumothorax_if_any_of_its_rows_has_a_mask(write, rows):
    layout = {"train-rle.csv": [mask(THIRD, "-1"), *(mask(*row) for row in rows)]}
    found = {
        s.study_id: s
        for s in studies(write(gaze_file(looked(), looked(SECOND)) | layout))
        if isinstance(s, ManifestStudy)
    }
    for image in (FIRST, SECOND):
        own = {runs for row, runs in rows if row == image}
        expected = ("pneumothorax",) if "12 5" in own else () if own else None
        assert found[image].findings == expected


def test_a_mask_that_is_no_runs_is_named(write):
    rows = [mask(FIRST, "-1"), mask(SECOND, "1 x")]
    said = refusal(write(gaze_file(looked()) | {"train-rle.csv": rows}))
    assert said.startswith("train-rle.csv, row 3, column EncodedPixels: '1 x' is neither -1 nor")


def test_an_image_that_is_no_dicom_file_is_skipped(write, read):
    found, skipped = read(studies(write(gaze_file(looked()) | {f"{FIRST}.dcm": "text"})))
    assert not found
    assert skipped == {"image is not a DICOM file": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "the file: Invalid JSON"),
        ("{}", "the file: Input should be a valid"),
        (
            json.dumps([looked(), looked(SECOND, time=(0, 1))]),
            "1, time, 0: Input should be greater",
        ),
        (json.dumps([looked(time=(1,))]), "0: Value error, gaze_x, gaze_y and time must have one"),
        (json.dumps([looked(x=(None, 1))]), "0, gaze_x, 0: Input should be a valid number"),
        (json.dumps([looked(x=("nan", 1))]), "0, gaze_x, 0: Input should be a finite number"),
        (json.dumps([looked(""), looked()]), "0, image_id: String should have at least 1"),
        (json.dumps([looked(), looked()]), "has an image_id twice"),
        ("\ud800".encode("utf-8", "surrogatepass"), "the file: "),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_place(write, content, said):
    refused = refusal(write({GAZE: content}))
    assert refused.startswith(GAZE)
    assert said in refused
    assert "ownload the published file again" in refused


def test_a_folder_without_the_gaze_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=GAZE):
        list(studies(tmp_path))


FIXATION = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.integers(1, 5))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(FIXATION, max_size=20), max_size=5))
def test_every_fixation_on_the_image_is_kept_in_its_order(tmp_path, drawn):
    readings = [
        looked(str(number), *zip(*fixations, strict=True) if fixations else ((), (), ()))
        for number, fixations in enumerate(drawn)
    ]
    (tmp_path / GAZE).write_text(json.dumps(readings))
    found = list(studies(tmp_path))
    assert len(found) == len(drawn)
    for study, fixations in zip(found, drawn, strict=True):
        inside = [one for one in fixations if 0 <= one[0] <= 1 and 0 <= one[1] <= 1]
        kept = [one for gaze in study.gaze for one in zip(gaze.x, gaze.y, strict=True)]
        assert kept == [one[:2] for one in inside]
        total = sum(sum(gaze.duration) for gaze in study.gaze)
        assert total == pytest.approx(sum(one[2] for one in inside) * 1000 / 60)


def test_the_published_gaze_draws_heatmaps(shared_data, read):
    root = shared_data / "gaze"
    if not (root / GAZE).is_file():
        pytest.skip(f"{GAZE} is not in {root}")
    found, skipped = read(read_source("siim_acr", root))
    assert len(found) == 125
    assert not skipped
    numbers = [len(gaze) for study in found.values() for gaze in study.gaze]
    assert sum(numbers) == 5233  # of 5,286; 53 lie beside the image
    study = next(iter(found.values()))
    assert heatmap(study.gaze, 32, 32, Sigma(1.6, "pixel")).max() == 1.0
