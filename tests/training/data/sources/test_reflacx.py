import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.data.gaze import Sigma, heatmap
from training.data.sources import read_source
from training.data.sources.reflacx import studies
from training.data.study import DataError

METADATA = (
    "id,split,eye_tracking_data_discarded,image,dicom_id,subject_id,image_size_x,image_size_y,"
    "Consolidation,Support devices,Other"
)
FIXATIONS = (
    "timestamp_start_fixation,timestamp_end_fixation,x_position,y_position,pupil_area_normalized,"
    "angular_resolution_x_pixels_per_degree,angular_resolution_y_pixels_per_degree,window_width,"
    "window_level,xmin_shown_from_image,ymin_shown_from_image,xmax_shown_from_image,"
    "ymax_shown_from_image,xmin_in_screen_coordinates,ymin_in_screen_coordinates,"
    "xmax_in_screen_coordinates,ymax_in_screen_coordinates"
)
FIRST = "0a1b2c3d-11111111-22222222-33333333-44444444"
SECOND = "0a1b2c3d-11111111-22222222-33333333-55555555"
WIDTH, HEIGHT = 2000, 2500


def path_of(dicom_id):
    return f"files/p10/p10000001/s5{dicom_id[-7:]}/{dicom_id}.dcm"


def table(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header.split(","), restval="")
        writer.writeheader()
        writer.writerows(rows)


def look(x=1000, y=500, seconds=(1.5, 1.75), degree=(100, 50), shown=(0, 0, WIDTH, HEIGHT)):
    values = (*seconds, x, y, 1.1, *degree, 0.99829, 0.49841, *shown, 661, 0, 3180, 2160)
    return dict(zip(FIXATIONS.split(","), values, strict=True))


def write(root, phases, images=(FIRST, SECOND), suffix=".jpg"):
    """main_data/ and MIMIC-CXR's tree; phases: {number: [(reading, dicom_id, fixations), …]}."""
    for phase, readings in phases.items():
        rows = []
        for reading, dicom_id, fixations in readings:
            folder = root / "main_data" / reading
            folder.mkdir(parents=True)
            if fixations is not None:
                table(folder / "fixations.csv", FIXATIONS, fixations)
                (folder / "transcription.txt").write_text(f"{reading} sees  nothing. Normal.\n")
            rows.append(
                {
                    "id": reading,
                    "split": "train",
                    "eye_tracking_data_discarded": fixations is None,
                    "image": f"physionet.org/files/mimic-cxr/2.0.0/{path_of(dicom_id)}",
                    "dicom_id": dicom_id,
                    "subject_id": "10000001",
                    "image_size_x": WIDTH,
                    "image_size_y": HEIGHT,
                }
            )
        table(root / "main_data" / f"metadata_phase_{phase}.csv", METADATA, rows)
    for dicom_id in images:
        image = (root / path_of(dicom_id)).with_suffix(suffix)
        image.parent.mkdir(parents=True)
        Image.new("L", (32, 32)).save(image, format="JPEG")


def read(root, *readings, **layout):
    write(root, {3: readings}, **layout)
    return list(studies(root))


def read_gaze(root, *fixations):
    (study,) = read(root, ("P300R000001", FIRST, fixations))
    return study.gaze[0]


def test_a_reading_becomes_a_study(tmp_path):
    (study,) = read(tmp_path, ("P300R000001", FIRST, [look()]))
    assert study.study_id == FIRST
    assert study.patient_id == "10000001"
    assert study.source == "reflacx"
    assert study.images == (path_of(FIRST).replace(".dcm", ".jpg"),)
    assert study.report == "P300R000001 sees nothing. Normal."
    (gaze,) = study.gaze
    assert (gaze.x, gaze.y, gaze.duration) == ((0.5,), (0.2,), (250.0,))
    assert gaze.degree == ((0.05, 0.02),)
    assert gaze.shown == ((0.0, 0.0, 1.0, 1.0),)


def test_readings_of_one_image_are_gaze_of_one_study_over_all_phases(tmp_path):
    write(
        tmp_path,
        {
            1: [("P101R000001", FIRST, [look(x=200)]), ("P101R000002", FIRST, [look(x=400)])],
            2: [("P202R000001", SECOND, [look(x=600)]), ("P201R000001", FIRST, [look(x=800)])],
        },
    )
    first, second = studies(tmp_path)
    assert [gaze.x for gaze in first.gaze] == [(0.1,), (0.2,), (0.4,)]
    assert first.report.splitlines() == [
        f"{reading} sees nothing. Normal."
        for reading in ("P101R000001", "P101R000002", "P201R000001")
    ]
    assert second.study_id == SECOND
    assert [gaze.x for gaze in second.gaze] == [(0.3,)]


def test_a_reading_whose_eye_tracking_was_discarded_is_left_out(tmp_path):
    (study,) = read(
        tmp_path,
        ("P101R000001", FIRST, None),
        ("P101R000002", FIRST, [look(x=400)]),
        ("P102R000003", SECOND, None),
    )
    assert study.report == "P101R000002 sees nothing. Normal."
    assert len(study.gaze) == 1


@pytest.mark.parametrize("beside", [look(x=-1), look(x=WIDTH + 1), look(y=-300), look(y=2501)])
def test_fixations_beside_the_image_are_left_out(tmp_path, beside):
    assert read_gaze(tmp_path, beside, look(y=750)).y == (0.3,)


def test_a_reading_that_is_all_beside_the_image_is_no_gaze(tmp_path):
    (study,) = read(tmp_path, ("P300R000001", FIRST, [look(x=-1)]))
    assert study.gaze == ()
    assert study.report


def test_a_zoomed_view_is_kept_a_fixation_and_ends_with_the_image(tmp_path):
    gaze = read_gaze(
        tmp_path,
        look(shown=(500, 250, 1500, 1250), degree=(40, 25)),
        look(shown=(-1, -1, WIDTH + 1, HEIGHT + 1)),
    )
    assert gaze.shown == ((0.25, 0.1, 0.75, 0.5), (0.0, 0.0, 1.0, 1.0))
    assert gaze.degree == ((0.02, 0.01), (0.05, 0.02))


def test_one_degree_on_the_heatmap_is_the_published_number_of_image_pixels(tmp_path):
    """100 × 50 image pixels a degree are 10 × 5 on a map of a tenth of the image's size."""
    gaze = read_gaze(tmp_path, look(x=1005, y=1255))
    picture = heatmap([gaze], HEIGHT // 10, WIDTH // 10, Sigma(1.0, "degree"))
    assert picture[125, 100] == 1.0
    assert picture[125, 110] == pytest.approx(picture[130, 100]) == pytest.approx(0.60653066)


@given(starts=st.lists(st.integers(0, 200_000), max_size=8), length=st.integers(0, 5000))
def test_durations_are_milliseconds(tmp_path_factory, starts, length):
    root = tmp_path_factory.mktemp("reflacx")
    looks = [look(seconds=(at / 1000, (at + length) / 1000)) for at in [0, *starts]]
    gaze = read_gaze(root, *looks)
    assert gaze.duration == pytest.approx([length] * len(looks), abs=1e-6)


def test_only_images_that_were_fetched_are_studies(tmp_path):
    readings = [("P300R000001", FIRST, [look()]), ("P300R000002", SECOND, [look()])]
    (study,) = read(tmp_path, *readings, images=[SECOND], suffix=".dcm")
    assert study.images == (path_of(SECOND),)


def test_an_image_that_is_no_path_of_mimic_cxr_is_refused_by_its_reading(tmp_path):
    write(tmp_path, {3: [("P300R000001", FIRST, [look()])]})
    metadata = tmp_path / "main_data" / "metadata_phase_3.csv"
    metadata.write_text(metadata.read_text().replace("/s5", "/x5"))
    with pytest.raises(ValueError, match=r"P300R000001 has an image that is not"):
        list(studies(tmp_path))


def test_a_folder_without_the_metadata_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="metadata_phase"):
        list(read_source("reflacx", tmp_path))


def test_fixations_without_a_place_are_left_out_and_times_may_be_unsorted(tmp_path):
    late, early = look(x=400, seconds=(2.0, 2.5)), look(x=200, seconds=(0.5, 0.75))
    gaze = read_gaze(tmp_path, late, early, look(x="nan"), look(y=""))
    assert gaze.x == (0.2, 0.1)
    assert gaze.duration == (500.0, 250.0)


@pytest.mark.parametrize(
    ("fixation", "said"),
    [
        (look(x="left"), "row 2, column x_position: 'left' is not a number"),
        (look(seconds=("", 1)), "row 2, column timestamp_start_fixation: '' is not a number"),
        (look(seconds=(2.0, 1.0)), "durations must be finite and not negative"),
        (look(degree=(0, 50)), "degrees must be finite and positive"),
        (look(shown=(900, 0, 100, HEIGHT)), "shown must be"),
    ],
)
def test_a_fixation_that_cannot_be_read_is_named(tmp_path, fixation, said):
    write(tmp_path, {3: [("P300R000001", FIRST, [fixation])]})
    with pytest.raises(DataError, match=f"fixations.csv.*{said}"):
        list(studies(tmp_path))


@pytest.mark.parametrize(("written", "kept"), [("FALSE", 1), ("0", 1), ("TRUE", 0), ("1.0", 0)])
def test_whether_gaze_was_discarded_is_read_however_it_is_written(tmp_path, written, kept):
    write(tmp_path, {3: [("P300R000001", FIRST, [look()])]})
    metadata = tmp_path / "main_data" / "metadata_phase_3.csv"
    metadata.write_text(metadata.read_text().replace("False", written))
    assert len(list(studies(tmp_path))) == kept


def test_a_transcription_in_another_encoding_is_named(tmp_path):
    write(tmp_path, {3: [("P300R000001", FIRST, [look()])]})
    folder = tmp_path / "main_data" / "P300R000001"
    (folder / "transcription.txt").write_bytes("37°".encode("latin-1"))
    with pytest.raises(DataError, match=r"transcription\.txt: the text is not UTF-8"):
        list(studies(tmp_path))
