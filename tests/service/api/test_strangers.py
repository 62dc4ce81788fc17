"""Nothing but a radiograph gets a report or findings; all else that was asked is answered."""

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.paths import RADIOGRAPH
from tests.support.pictures import file_of, hand, page, photographs

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
with Image.open(RADIOGRAPH) as opened:
    CHEST = np.asarray(opened.convert("L"))
STRANGERS = {
    "a colour photograph": file_of(photographs()[0]),
    "a screenshot": file_of(page()),
    "a hand": file_of(hand(0)),
    "a hand, as JPEG": file_of(hand(1, side=700), "JPEG"),
    "a hand with its fingers down": file_of(hand(2)[::-1]),
    "a grey photograph": file_of(Image.fromarray(photographs()[1]).convert("L")),
    "a radiograph upside down": file_of(CHEST[::-1]),
    "a radiograph on its side": file_of(np.rot90(CHEST)),
    "an inverted radiograph": file_of(255 - CHEST),
    "noise": file_of(RANDOM.integers(0, 256, (256, 256)).astype(np.uint8)),
}


@pytest.fixture(params=STRANGERS.values(), ids=STRANGERS)
def stranger(request):
    return request.param


def test_it_gets_no_report(client, problem, stranger):
    answer = client.post("/generate-report", files={"files": stranger})
    members = problem(answer, 422, "image/not-a-radiograph")
    assert members["detail"].count(".") >= 2  # what was seen, and what to do


def test_it_gets_no_report_as_a_stream_or_in_another_form(client, problem, stranger):
    for asked in ({"data": {"stream": "true"}}, {"headers": {"accept": "application/fhir+json"}}):
        answer = client.post("/generate-report", files={"files": stranger}, **asked)
        problem(answer, 422, "image/not-a-radiograph")


def test_it_is_not_classified_and_harms_no_other_image(client, radiograph, stranger):
    files = [("files", ("a", stranger)), ("files", ("b", radiograph))]
    refused, classified = client.post("/classify", files=files).json()["items"]
    assert refused["error"]["type"] == "urn:eclip:image/not-a-radiograph"
    assert classified["findings"]
    assert classified["warnings"] == []


def test_its_embedding_comes_with_a_warning(client, radiograph, stranger):
    files = [("files", ("a", stranger)), ("files", ("b", radiograph))]
    warned, trusted = client.post("/embed/image", files=files).json()["items"]
    assert warned["embedding"]
    assert warned["image"]["warnings"]
    assert trusted["image"]["warnings"] == []


def test_it_may_be_searched_with(client, stranger):
    answer = client.post("/retrieve", files={"files": stranger}, data={"target": "image"})
    assert answer.json()["hits"]


@pytest.mark.parametrize("kind", ["a colour photograph", "a screenshot", "noise", "a hand"])
def test_what_is_surely_none_is_no_view_of_a_study_either(client, problem, radiograph, kind):
    files = [("files", ("a", radiograph)), ("files", ("b", STRANGERS[kind]))]
    problem(client.post("/generate-report", files=files), 422, "image/not-a-radiograph")


def test_beside_a_frontal_view_a_view_of_another_layout_is_only_warned_of(client, radiograph):
    """It may be the lateral view, which looks unlike a frontal one."""
    files = [("files", ("a", radiograph)), ("files", ("b", file_of(np.rot90(CHEST))))]
    answer = client.post("/generate-report", files=files)
    (warning,) = answer.json()["warnings"]
    assert "layout" in warning
    text = client.post("/generate-report", files=files, headers={"accept": "text/plain"}).text
    assert warning in text


@pytest.mark.parametrize(
    ("header", "status", "warned"),
    [
        ({"BodyPartExamined": "CHEST", "ViewPosition": "PA"}, 200, True),
        ({"StudyDescription": "Portable CXR", "ViewPosition": "AP"}, 200, True),
        ({"ViewPosition": "LL"}, 200, False),
        ({"ViewPosition": "AP"}, 422, False),
        ({"StudyDescription": "Leg pain"}, 422, False),
    ],
)
def test_a_dicom_is_refused_by_its_layout_only_where_its_header_names_no_chest(
    client, header, status, warned
):
    data = dicom_bytes(dicom_dataset(4 * np.rot90(CHEST).astype(np.uint16), **header))
    answer = client.post("/generate-report", files={"files": data})
    assert answer.status_code == status
    assert bool(answer.json().get("warnings")) == warned


def test_raw_data_of_a_detector_get_no_report_unless_a_processed_view_is_beside_them(
    client, problem, radiograph
):
    header = {"BodyPartExamined": "CHEST", "PresentationIntentType": "FOR PROCESSING"}
    raw = dicom_bytes(dicom_dataset(4 * CHEST.astype(np.uint16), **header))
    alone = problem(
        client.post("/generate-report", files={"files": raw}), 422, "image/not-a-radiograph"
    )
    assert "FOR PROCESSING" in alone["detail"]
    files = [("files", ("a", radiograph)), ("files", ("b", raw))]
    (warning,) = client.post("/generate-report", files=files).json()["warnings"]
    assert "FOR PROCESSING" in warning


def test_the_demo_radiograph_gets_a_report_without_warnings(client, radiograph):
    body = client.post("/generate-report", files={"files": radiograph}).json()
    assert body["warnings"] == []


def leg(shared_data):
    """The stored values of a leg, uint8, in which bright means dense (they are MONOCHROME1)."""
    values = pydicom.dcmread(shared_data / "dicom_other" / "RG3_J2KR.dcm").pixel_array
    low, high = np.percentile(values, [1, 99])
    return (255 - np.clip((values - low) / (high - low) * 255, 0, 255)).astype(np.uint8)


def test_a_real_leg_saved_as_a_picture_gets_no_report(client, problem, shared_data):
    """The DICOM itself is refused for what its header says; a picture has no header."""
    pixels = leg(shared_data)
    for picture in (pixels, pixels[::-1], 255 - pixels, np.rot90(pixels)):
        answer = client.post("/generate-report", files={"files": file_of(picture)})
        problem(answer, 422, "image/not-a-radiograph")
