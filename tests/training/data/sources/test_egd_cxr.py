import csv

import pytest
from PIL import Image

from training.data.sources import read_source
from training.data.sources.egd_cxr import studies
from training.data.study import DataError

FIXATIONS = (
    "SESSION_ID,MEDIA_ID,DICOM_ID,CNT,Time (in secs),TIMETICK(f=10000000),FPOGX,FPOGY,FPOGS,FPOGD,"
    "FPOGID,FPOGV,BPOGX,BPOGY,BPOGV,LPCX,LPCY,LPD,LPS,LPV,RPCX,RPCY,RPD,RPS,RPV,BKID,BKDUR,BKPMIN,"
    "LPMM,LPMMV,RPMM,RPMMV,SACCADE_MAG,SACCADE_DIR,VID_FRAME,X_ORIGINAL,Y_ORIGINAL"
)
MASTER_SHEET = (
    "dicom_id,path,study_id,patient_id,stay_id,gender,anchor_age,image_top_pad,image_bottom_pad,"
    "image_left_pad,image_right_pad,dx1,dx1_icd,normal_reports,Normal,CHF,pneumonia,"
    "cxr_exam_indication"
)
FIRST = "0a1b2c3d-11111111-22222222-33333333-44444444"
SECOND = "0a1b2c3d-11111111-22222222-33333333-55555555"


def path_of(dicom_id):
    return f"files/p10/p10000001/s5{dicom_id[-7:]}/{dicom_id}.dcm"


def table(path, header, rows, **same):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header.split(","), restval="")
        writer.writeheader()
        writer.writerows(same | row for row in rows)


def write(root, fixations, images=(FIRST, SECOND), suffix=".jpg", **pads):
    """The two tables, and MIMIC-CXR's tree with an image and a report for each of `images`."""
    table(root / "fixations.csv", FIXATIONS, fixations, FPOGV="1", FPOGD="0.25")
    pads = {"left": 534, "right": 534, "top": 0, "bottom": 0} | pads
    sheet = [{"dicom_id": each, "path": path_of(each)} for each in (FIRST, SECOND)]
    indication = "___F with cough,\nsince a week"
    same = {f"image_{side}_pad": str(pad) for side, pad in pads.items()}
    same |= {"patient_id": "10000001", "cxr_exam_indication": indication}
    table(root / "master_sheet.csv", MASTER_SHEET, sheet, **same)
    for dicom_id in images:
        image = (root / path_of(dicom_id)).with_suffix(suffix)
        image.parent.mkdir(parents=True)
        Image.new("L", (32, 32)).save(image, format="JPEG")
        image.parent.with_suffix(".txt").write_text(" FINAL REPORT\n FINDINGS: \n  Clear.\n")


def read(root, *fixations, **layout):
    write(root, fixations, **layout)
    return list(studies(root))


def look(x, y, dicom_id=FIRST, **columns):
    return {"DICOM_ID": dicom_id, "FPOGX": str(x), "FPOGY": str(y)} | columns


def test_an_image_with_fixations_becomes_a_study(tmp_path):
    study, other = read(tmp_path, look(0.5, 0.25))
    assert study.study_id == FIRST
    assert study.patient_id == "10000001"
    assert study.source == "egd_cxr"
    assert study.images == (path_of(FIRST).replace(".dcm", ".jpg"),)
    assert study.report == "FINAL REPORT FINDINGS: Clear."
    assert study.view is None
    (gaze,) = study.gaze
    assert (gaze.x, gaze.y, gaze.duration) == ((0.5,), (0.25,), (250.0,))
    assert gaze.degree == gaze.shown == ()
    assert other.study_id == SECOND
    assert other.gaze == ()


def test_the_margins_map_the_screen_onto_the_image(tmp_path):
    """400 | 1000 | 520 pixels across and 100 | 800 | 180 down; the corners and a quarter inside."""
    pads = {"left": 400, "right": 520, "top": 100, "bottom": 180}
    places = [(0.0, 0.0), (1.0, 1.0), (0.25, 0.75)]
    study, _ = read(
        tmp_path,
        *(look((400 + 1000 * x) / 1920, (100 + 800 * y) / 1080) for x, y in places),
        **pads,
    )
    (gaze,) = study.gaze
    assert gaze.x == pytest.approx([x for x, _ in places])
    assert gaze.y == pytest.approx([y for _, y in places])


def test_the_screen_is_mapped_as_the_publishers_map_it(tmp_path):
    """The canvas has 1,024 rows; X_ORIGINAL and Y_ORIGINAL count 1,080 between the margins."""
    pads = {"left": 448, "right": 448, "top": 100, "bottom": 100}
    study, _ = read(tmp_path, look(0.5, 0.25), **pads)
    assert study.gaze[0].y == pytest.approx([(0.25 * 1080 - 100) / (1080 - 200)])


def test_fixations_keep_their_order_and_their_image(tmp_path):
    first, second = read(
        tmp_path,
        look(0.4, 0.1, FPOGD="0.1"),
        look(0.5, 0.2, SECOND, FPOGD="0.2"),
        look(0.6, 0.3, FPOGD="0.3"),
    )
    assert first.gaze[0].duration == pytest.approx((100, 300))
    assert second.gaze[0].duration == pytest.approx((200,))


@pytest.mark.parametrize(
    "elsewhere",
    [look(0.1, 0.5), look(0.9, 0.5), look(0.5, -0.01), look(0.5, 1.2), look(0.5, 0.5, FPOGV="0")],
    ids=["left margin", "right margin", "above", "below", "invalid"],
)
def test_what_is_no_fixation_on_the_image_is_left_out(tmp_path, elsewhere):
    study, _ = read(tmp_path, elsewhere, look(0.5, 0.75))
    assert study.gaze[0].y == (0.75,)


def test_an_image_that_nobody_looked_at_has_no_reading(tmp_path):
    study, _ = read(tmp_path, look(0.1, 0.5))
    assert study.gaze == ()


def test_gaze_on_a_calibration_slide_is_not_gaze_on_its_namesake(tmp_path):
    slide = look(0.5, 0.5, FIRST[:-5], X_ORIGINAL="960", Y_ORIGINAL="540")
    study, _ = read(tmp_path, slide, look(0.6, 0.25), slide)
    assert study.gaze[0].y == (0.25,)


@pytest.mark.parametrize("slide", [f"{FIRST}_calibration", f"{FIRST[:-5]}_calibration"])
def test_gaze_on_a_slide_named_calibration_is_left_out_silently(tmp_path, caplog, slide):
    study, _ = read(tmp_path, look(0.5, 0.5, slide), look(0.6, 0.25))
    assert study.gaze[0].y == (0.25,)
    assert not caplog.records


@pytest.mark.parametrize("strange", [FIRST[:-4], FIRST[:-6], "f" * 44, ""])
def test_fixations_on_an_unknown_image_are_left_out_with_a_warning(tmp_path, caplog, strange):
    study, _ = read(tmp_path, *[look(0.5, 0.5, strange)] * 3, look(0.6, 0.25))
    assert study.gaze[0].y == (0.25,)
    (warning,) = caplog.messages
    assert warning.startswith("fixations.csv: left out 3 fixations on 1 images")
    assert f"{strange!r}" in warning


def test_fixations_on_no_image_of_the_sheet_are_another_data_sets(tmp_path):
    write(tmp_path, [look(0.5, 0.5, "f" * 44)])
    with pytest.raises(DataError, match=r"fixations\.csv names no image of master_sheet\.csv"):
        list(studies(tmp_path))


def test_only_images_that_were_fetched_are_studies(tmp_path):
    (study,) = read(tmp_path, look(0.5, 0.5), look(0.5, 0.25, SECOND), images=[SECOND])
    assert study.study_id == SECOND


def test_an_image_may_be_a_dicom_file(tmp_path):
    study, _ = read(tmp_path, look(0.5, 0.5), suffix=".dcm")
    assert study.images == (path_of(FIRST),)


def test_an_image_without_its_report_is_an_error(tmp_path):
    write(tmp_path, [look(0.5, 0.5)])
    next(tmp_path.rglob("*.txt")).unlink()
    with pytest.raises(FileNotFoundError):
        list(read_source("egd_cxr", tmp_path))


def test_fixations_in_any_order_and_saved_again_are_read(tmp_path):
    later, earlier = look(0.4, 0.1, FPOGV="1.0"), look(0.5, 0.2, FPOGV="1")
    study, _ = read(tmp_path, later, earlier, look("", "", FPOGV="1"), look("nan", 0.5))
    assert study.gaze[0].y == pytest.approx((0.1, 0.2))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"FPOGV": "yes"}, "column FPOGV: 'yes' is not a number"),
        ({"FPOGD": ""}, "column FPOGD: '' is not a number from 0 up"),
        ({"FPOGD": "-0.1"}, "column FPOGD: '-0.1' is not a number from 0 up"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(tmp_path, columns, said):
    write(tmp_path, [look(0.5, 0.5) | columns])
    with pytest.raises(DataError, match=rf"fixations\.csv, row 2, {said}"):
        list(studies(tmp_path))


def test_margins_that_leave_no_image_are_refused(tmp_path):
    write(tmp_path, [look(0.5, 0.5)], left=1900)
    with pytest.raises(DataError, match=r"master_sheet\.csv, row 2, .* leave nothing"):
        list(studies(tmp_path))


def test_a_report_in_another_encoding_is_named(tmp_path):
    write(tmp_path, [look(0.5, 0.5)])
    report = next(tmp_path.rglob("*.txt"))
    report.write_bytes("37°".encode("latin-1"))
    with pytest.raises(DataError, match=report.name):
        list(studies(tmp_path))
