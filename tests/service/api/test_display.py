import io

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from service.api.display import DisplayFacts
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from tests.support.display import read_display

NAMES = {"PatientName": "Doe^Jane", "PatientID": "MRN-77", "StudyInstanceUID": "1.2.3.4.5"}
WINDOW = {"WindowCenter": 400, "WindowWidth": 200}


def ask(client, data):
    return client.post("/display", content=data, headers={"Content-Type": "application/dicom"})


def shown(client, data):
    """The facts and the pixels of an image."""
    answer = ask(client, data)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    facts, pixels = read_display(answer.content)
    DisplayFacts.model_validate(facts)
    return facts, pixels


def test_a_dicom_is_answered_over_its_whole_range_with_the_window_of_the_file(client):
    stored = ramp(np.uint16, 1000)
    facts, pixels = shown(client, dicom_bytes(dicom_dataset(stored, **WINDOW)))
    assert (facts["format"], facts["bits"], facts["inverted"]) == ("dicom", 16, False)
    assert facts["values"] == {"low": 0, "high": 1000}
    assert facts["window"] == {"low": 300, "high": 499, "source": "window"}
    assert np.abs(pixels / 65.535 - stored).max() < 0.01


def test_low_values_that_the_file_shows_white_are_answered_bright(client):
    stored = ramp(np.uint16, 1000)
    facts, pixels = shown(
        client, dicom_bytes(dicom_dataset(stored, PhotometricInterpretation="MONOCHROME1"))
    )
    assert facts["inverted"]
    assert np.abs(pixels / 65.535 - (1000 - stored)).max() < 0.01


def test_a_picture_keeps_its_levels(client):
    levels = ramp()
    for form in ("PNG", "JPEG"):
        facts, pixels = shown(client, picture(Image.fromarray(levels), form))
        assert (facts["format"], facts["bits"]) == (form.lower(), 8)
        assert facts["window"]["low"] == facts["values"]["low"] == 0
        assert facts["window"]["high"] == facts["values"]["high"] == 255
        assert np.abs(pixels.astype(int) - levels).max() <= (4 if form == "JPEG" else 0)
    assert (facts["scale"], facts["view"], facts["directions"]) == (None, None, None)


def test_a_deep_picture_is_answered_with_16_bits(client):
    deep = ramp(np.uint16, 4000) + 50
    facts, pixels = shown(client, picture(Image.fromarray(deep.astype(np.uint16)), "PNG"))
    assert (facts["bits"], facts["values"]) == (16, {"low": 50, "high": 4050})
    assert (pixels.min(), pixels.max()) == (0, 65535)


@pytest.mark.parametrize(
    ("header", "scale"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.2]}, {"spacing_mm": [0.2, 0.2], "at": "detector"}),
        ({"PixelSpacing": [0.2, 0.2]}, {"spacing_mm": [0.2, 0.2], "at": "unstated"}),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]},
            {"spacing_mm": [0.2, 0.2], "at": "detector"},
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.18, 0.18]},
            {"spacing_mm": [0.18, 0.18], "at": "calibrated"},
        ),
        (
            {"PixelSpacing": [0.18, 0.18], "PixelSpacingCalibrationType": "FIDUCIAL"},
            {"spacing_mm": [0.18, 0.18], "at": "calibrated"},
        ),
        (
            {"ImagerPixelSpacing": [0.4, 0.2], "PixelSpacing": [0.36, 0.18]},
            {"spacing_mm": [0.18, 0.18], "at": "calibrated"},
        ),
        ({}, None),
        ({"PixelSpacing": [0, 0]}, None),
    ],
)
def test_a_scale_says_where_it_holds(client, header, scale):
    assert shown(client, dicom_bytes(dicom_dataset(**header)))[0]["scale"] == scale


def test_view_and_sides_are_those_of_the_header(client):
    header = {"ViewPosition": "PA", "ImageLaterality": "B", "PatientOrientation": ["L", "F"]}
    facts, _ = shown(client, dicom_bytes(dicom_dataset(**header)))
    assert [facts[name] for name in ("view", "laterality", "directions")] == ["PA", "B", ["L", "F"]]


def test_a_side_that_is_none_is_left_out(client):
    header = {"ImageLaterality": "DOE", "PatientOrientation": ["DOE"]}
    facts, _ = shown(client, dicom_bytes(dicom_dataset(**header)))
    assert (facts["laterality"], facts["directions"]) == (None, None)


def test_no_identifier_is_answered(client):
    answer = ask(client, dicom_bytes(dicom_dataset(**NAMES, SeriesDescription="Chest of Jane")))
    said = str(answer.headers).encode() + answer.content
    assert not [word for word in (b"Doe", b"Jane", b"MRN", b"1.2.3.4.5") if word in said]
    assert answer.headers["cache-control"] == "no-store"


def test_pixels_begin_where_words_of_16_bits_may(client):
    """A browser makes an array of them where they lie."""
    content = ask(client, dicom_bytes(dicom_dataset())).content
    assert (4 + int.from_bytes(content[:4], "little")) % 8 == 0


def test_a_form_and_json_are_read_as_elsewhere(client, radiograph):
    of_form = client.post("/display", files={"files": radiograph})
    assert of_form.content == ask(client, radiograph).content


def test_what_is_no_radiograph_is_a_problem(client, problem):
    problem(ask(client, b"plain text"), 415, "image/unsupported")
    leg = dicom_bytes(dicom_dataset(BodyPartExamined="LEG"))
    problem(ask(client, leg), 422, "image/not-a-radiograph")
    problem(ask(client, b""), 400, "request/malformed")
    twice = client.post("/display", files=[("files", picture_of()), ("files", picture_of())])
    problem(twice, 400, "request/malformed")
    problem(client.post("/display?side=5", content=picture_of()), 400, "request/malformed")


def picture_of():
    return picture(Image.fromarray(ramp()), "PNG")


def test_a_compressed_dicom_has_the_pixels_of_a_plain_one(client):
    dataset = dicom_dataset(**WINDOW)
    plain = dicom_bytes(dataset)
    dataset.compress(JPEG2000Lossless)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    np.testing.assert_array_equal(shown(client, file.getvalue())[1], shown(client, plain)[1])
