import base64
import json

import numpy as np
import pytest
from PIL import Image

from service.settings import DEMO_BUNDLE
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp


def vectors(answer):
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["items"]], np.float32)


def test_the_three_forms_of_an_image_give_one_vector(client, radiograph, in_base64):
    form = client.post("/embed/image", files={"files": radiograph})
    raw = client.post("/embed/image", content=radiograph, headers={"content-type": "image/png"})
    body = client.post("/embed/image", json={"images": [{"data": in_base64(radiograph)}]})
    assert vectors(form).shape == (1, 128)
    assert np.linalg.norm(vectors(form)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(vectors(raw), vectors(form), atol=1e-5)
    np.testing.assert_allclose(vectors(body), vectors(form), atol=1e-5)


@pytest.mark.parametrize("kind", ["application/dicom", "image/jpeg", "text/plain", None])
def test_the_bytes_decide_the_type_and_not_the_header(client, radiograph, kind):
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/embed/image", content=radiograph, headers=headers)
    assert answer.json()["items"][0]["image"]["format"] == "png"


def test_the_facts_of_a_dicom_stand_beside_its_vector(client):
    dataset = dicom_dataset(PhotometricInterpretation="MONOCHROME1", ViewPosition="PA")
    facts = client.post("/embed/image", content=dicom_bytes(dataset)).json()["items"][0]["image"]
    assert facts == {
        "format": "dicom",
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "view": "PA",
        "inverted": True,
        "window": {"low": 0.0, "high": 1000.0, "source": "value-range"},
        "corrections": [],
        "warnings": facts["warnings"],
    }


def test_corrections_of_a_picture_stand_beside_its_vector(client):
    data = picture(Image.fromarray(ramp()), "JPEG", dpi=(72, 144))
    facts = client.post("/embed/image", content=data).json()["items"][0]["image"]
    assert facts["corrections"] == [
        "The pixels were made square: the file has them 0.5 times as high as wide."
    ]
    assert (facts["rows"], facts["columns"]) == (40, 96)


def test_base64_is_the_same_vector_in_little_endian_floats(client, radiograph):
    floats = client.post("/embed/image", files={"files": radiograph})
    packed = client.post("/embed/image", files={"files": radiograph}, data={"encoding": "base64"})
    raw = client.post("/embed/image?encoding=base64", content=radiograph)
    for answer in (packed, raw):
        decoded = np.frombuffer(base64.b64decode(answer.json()["items"][0]["embedding"]), "<f4")
        np.testing.assert_allclose(decoded, vectors(floats)[0], atol=1e-6)


def test_a_bad_image_harms_only_its_own_place(client, pictures, in_base64):
    images = [
        {"id": "a", "data": in_base64(pictures[0])},
        {"id": "b", "data": "not base64!"},
        {"id": "c", "data": in_base64(b"no image at all")},
        {"data": in_base64(pictures[1])},
    ]
    answer = client.post("/embed/image", json={"images": images})
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [(item["index"], item["id"]) for item in items] == list(enumerate(["a", "b", "c", None]))
    assert [item.get("error", {}).get("type") for item in items] == [
        None,
        "urn:eclip:image/undecodable",
        "urn:eclip:image/unsupported",
        None,
    ]
    alone = vectors(client.post("/embed/image", files={"files": pictures[1]}))[0]
    np.testing.assert_allclose(items[3]["embedding"], alone, atol=1e-5)


def test_a_batch_in_which_everything_fails_says_why_for_each(client, problem, radiograph):
    files = [("files", ("a", b"")), ("files", ("b", radiograph[:200]))]
    members = problem(client.post("/embed/image", files=files), 422, "batch/all-failed")
    assert [item["error"]["type"] for item in members["items"]] == [
        "urn:eclip:image/undecodable"
    ] * 2


def test_a_lone_bad_image_is_answered_with_its_own_error(client, problem):
    answer = client.post("/embed/image", files={"files": b"renamed text"})
    problem(answer, 415, "image/unsupported")


def test_no_image_and_too_many_images_are_malformed(writable, problem, radiograph):
    problem(writable.post("/embed/image"), 400, "request/malformed")
    problem(writable.post("/embed/image", json={}), 400, "request/malformed")
    five = [("files", ("a", radiograph))] * 5
    members = problem(writable.post("/embed/image", files=five), 400, "request/malformed")
    assert "4" in members["detail"]


def test_an_unknown_parameter_is_refused_in_every_form(client, problem, radiograph, in_base64):
    for answer in (
        client.post("/embed/image", files={"files": radiograph}, data={"encodng": "float"}),
        client.post("/embed/image?encodng=float", content=radiograph),
        client.post(
            "/embed/image", json={"images": [{"data": in_base64(radiograph)}], "encodng": "float"}
        ),
    ):
        assert "encodng" in problem(answer, 400, "request/malformed")["detail"]


def test_texts_keep_their_order_and_say_what_the_tower_read(client):
    long = "No pneumothorax. " * 100
    answer = client.post("/embed/text", json={"texts": ["Cardiomegaly.", long, "Cardiomegaly."]})
    items = answer.json()["items"]
    assert [item["index"] for item in items] == [0, 1, 2]
    assert [item["truncated"] for item in items] == [False, True, False]
    assert items[1]["tokens"] == 128 > items[0]["tokens"] > 2
    got = vectors(answer)
    np.testing.assert_allclose(got[0], got[2], atol=1e-5)
    assert np.abs(got[0] - got[1]).max() > 0.01


def test_vectors_name_the_bundle_that_made_them(client, radiograph):
    manifest = json.loads((DEMO_BUNDLE / "bundle.json").read_text())
    for answer in (
        client.post("/embed/image", files={"files": radiograph}),
        client.post("/embed/text", json={"texts": ["Nodule."]}),
    ):
        assert answer.json()["bundle"] == {
            name: manifest[name] for name in ("name", "version", "id")
        }


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b'{"texts": [NaN]}', 400, "request/malformed"),
        (b'{"texts": []}', 400, "request/malformed"),
        (b'{"texts": "Nodule."}', 400, "request/malformed"),
        (b'["Nodule."]', 400, "request/malformed"),
        (b'{"texts": ["Nodule."', 400, "request/malformed"),
        (b"\xff\xfe", 400, "request/malformed"),
        (b"", 400, "request/malformed"),
        (b'{"texts": ["a", "b", "c", "d", "e"]}', 400, "request/malformed"),
        (b'{"texts": [' + b"0," * 499_000 + b"0]}", 400, "request/malformed"),
        (b'{"texts": [' + b"{}," * 1_000_000 + b"{}]}", 400, "request/malformed"),
        (b'{"texts": ["Nodule.", "  "]}', 422, "text/invalid"),
    ],
)
def test_a_body_that_is_no_list_of_texts_is_refused(writable, problem, body, status, kind):
    problem(writable.post("/embed/text", content=body), status, kind)
