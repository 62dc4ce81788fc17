"""Hostile input: each gets its typed problem, and the next good request succeeds."""

import io
import json
import socket
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import CTImageStorage

from service.settings import DEMO_LIBRARY
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture

pytestmark = pytest.mark.slow

JPEG = next(DEMO_LIBRARY.parent.glob("images/*.jpg")).read_bytes()
PNG, JSON = {"content-type": "image/png"}, {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
CANARY = "Doe-Jane-19610304"


def png_header(rows, columns):
    """A PNG with few pixels behind a header that declares many."""
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated():
    frames = [Image.new("L", (64, 64), shade) for shade in (10, 200)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


def without_pixels():
    dataset = dicom_dataset(PatientName=CANARY)
    del dataset.PixelData
    return dicom_bytes(dataset)


def multi_frame():
    pixels = np.zeros((3, 40, 48), np.uint16)
    return dicom_bytes(dicom_dataset(pixels, NumberOfFrames=3, PatientName=CANARY))


def tomogram():
    dataset = dicom_dataset(Modality="CT", SOPClassUID=CTImageStorage, PatientName=CANARY)
    return dicom_bytes(dataset)


def truncated_dicom():
    return dicom_bytes(dicom_dataset(PatientName=CANARY))[:-1000]


def huge_dicom():
    return dicom_bytes(dicom_dataset(Rows=30_000, Columns=30_000, PatientName=CANARY))


def labels_of_10_mb():
    labels = {f"label {i}": {"present": ["x" * 500] * 20} for i in range(1000)}
    return json.dumps({"images": [], "labels": labels}).encode()


def form(name, data):
    head = f'--x\r\ncontent-disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    return head.encode() + data + b"\r\n--x--\r\n"


HOSTILE = {
    "a truncated JPEG": ("/embed/image", JPEG[:2000], {}, 422, "image/undecodable"),
    "a JPEG with its middle cut out": (
        "/embed/image",
        JPEG[:300] + JPEG[-300:],
        {},
        422,
        "image/undecodable",
    ),
    "a PNG that declares 30 000 × 30 000 pixels": (
        "/embed/image",
        png_header(30_000, 30_000),
        PNG,
        413,
        "image/too-large",
    ),
    "a PNG with fewer pixels than it declares": (
        "/embed/image",
        png_header(500, 500),
        PNG,
        422,
        "image/undecodable",
    ),
    "an animated PNG": ("/embed/image", animated(), PNG, 415, "image/unsupported"),
    "text renamed .png": (
        "/embed/image",
        form("files", b"plain text"),
        FORM,
        415,
        "image/unsupported",
    ),
    "a GIF": (
        "/embed/image",
        picture(Image.new("L", (64, 64)), "GIF"),
        PNG,
        415,
        "image/unsupported",
    ),
    "one pixel": (
        "/embed/image",
        picture(Image.new("L", (1, 1)), "PNG"),
        {},
        422,
        "image/not-a-radiograph",
    ),
    "a blank image": (
        "/embed/image",
        picture(Image.new("L", (64, 64), 7), "PNG"),
        {},
        422,
        "image/not-a-radiograph",
    ),
    "a DICOM without pixels": ("/classify", without_pixels(), {}, 415, "image/unsupported"),
    "a multi-frame DICOM": ("/classify", multi_frame(), {}, 415, "image/unsupported"),
    "a CT slice": ("/classify", tomogram(), {}, 422, "image/not-a-radiograph"),
    "a truncated DICOM": ("/classify", truncated_dicom(), {}, 422, "image/undecodable"),
    "a DICOM that declares 30 000 × 30 000 pixels": (
        "/classify",
        huge_dicom(),
        {},
        413,
        "image/too-large",
    ),
    "an empty body": ("/embed/image", b"", PNG, 400, "request/malformed"),
    "an empty file": ("/embed/image", form("files", b""), FORM, 422, "image/undecodable"),
    "a form without an end": ("/embed/image", b"--x\r\ncontent", FORM, 400, "request/malformed"),
    "a file under another name": (
        "/embed/image",
        form("image", JPEG),
        FORM,
        400,
        "request/malformed",
    ),
    "JSON with NaN": (
        "/retrieve",
        b'{"text": "a", "min_score": NaN}',
        JSON,
        400,
        "request/malformed",
    ),
    "JSON 100 000 deep": ("/retrieve", b"[" * 100_000, JSON, 400, "request/malformed"),
    "a label list of 10 MB": ("/classify", labels_of_10_mb(), JSON, 422, "labels/invalid"),
    "an unknown bundle": (
        "/v1/embeddings",
        b'{"model": "another", "input": "a"}',
        JSON,
        404,
        "bundle/unknown",
    ),
    "a body over the cap": ("/embed/image", b"\0" * (64 * 2**20 + 1), {}, 413, "request/too-large"),
    "an image over the cap": (
        "/embed/image",
        JPEG + b"\0" * (48 * 2**20),
        {},
        413,
        "image/too-large",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_input_gets_its_problem_and_the_next_request_its_answer(
    server, radiograph, problem, what
):
    path, body, headers, status, kind = HOSTILE[what]
    with httpx.Client(base_url=server.url, timeout=30) as client:
        answer = client.post(path, content=body, headers=headers)
        members = problem(answer, status, kind)
        assert CANARY not in answer.text
        assert len(members["detail"]) < 400
        assert client.post("/embed/image", content=radiograph).status_code == 200
        assert client.get("/health/ready").status_code == 200


def test_a_client_that_leaves_in_the_middle_costs_the_next_one_nothing(server, radiograph):
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /embed/image HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + radiograph[:1000])
    assert httpx.post(f"{server.url}/embed/image", content=radiograph).status_code == 200
    assert "Traceback" not in server.log.read_text()


def test_no_identifier_of_hostile_input_reaches_the_log_or_the_metrics(server):
    for what in ("a DICOM without pixels", "a truncated DICOM"):
        path, body, headers, *_ = HOSTILE[what]
        httpx.post(server.url + path, content=body, headers=headers)
    httpx.get(f"{server.url}/studies/{CANARY}")
    log = server.log.read_text()
    assert '"route": "/studies/{study_id}"' in log
    assert "Traceback" not in log
    assert CANARY not in log
    assert CANARY not in httpx.get(f"{server.url}/metrics").text
