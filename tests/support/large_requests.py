"""The requests that take most memory, one of each kind that the limits let in."""

import base64
import io
import json

import numpy as np
from PIL import Image

from tests.support.footprint import KINDS
from tests.support.http_load import post

MIB = 2**20
SIDE = 7900
"""Pixels a side of the largest images: 62 of the 64 million."""
JSON, FORM, NDJSON = "application/json", "multipart/form-data; boundary=x", "application/x-ndjson"


def large_requests() -> dict[str, bytes]:
    """Returns the whole bytes of a request of each kind, by its name."""
    radiograph = KINDS["dicom 16"](4850)
    views = [KINDS["png L"](2000 + number) for number in range(8)]
    gray = _png(Image.fromarray(np.tile(np.arange(SIDE) % 256, (SIDE, 1)).astype(np.uint8)))
    return {
        "gray PNG of 62 Mpx": post("/embed/image", gray, "image/png"),
        "RGBA PNG of 62 Mpx": post(
            "/embed/image", _png(Image.new("RGBA", (SIDE, SIDE))), "image/png"
        ),
        "DICOM of 45 MiB": post("/classify", radiograph, "application/dicom"),
        "pixels of a DICOM of 45 MiB": post("/display", radiograph, "application/dicom"),
        "form of a DICOM of 45 MiB": post("/retrieve", _form([radiograph]), FORM),
        "form of 60 files of 1 MiB": post("/embed/image", _form([bytes(MIB)] * 60), FORM),
        "form of a text of 40 MiB": post(
            "/embed/image", _form([], b"\xf0\x9f\x98\x80" + b"a" * 40 * MIB), FORM
        ),
        "base64 of 61 MiB": post("/embed/image", _json([radiograph]), JSON),
        "report on base64 of 61 MiB": post("/generate-report", _json([radiograph]), JSON),
        "report on 8 views": post("/generate-report", _form(views), FORM),
        "batch of 61 MiB in one line": post("/studies", _line(0, [radiograph]), NDJSON),
        "batch of 32 studies of 8 views": post(
            "/studies", b"\n".join(_line(number, views) for number in range(32)), NDJSON
        ),
        "embeddings of 61 MiB": post(
            "/v1/embeddings",
            json.dumps(
                {"model": "phantom-demo", "input": f"data:image/png;base64,{_base64(radiograph)}"}
            ).encode(),
            JSON,
        ),
        "text of 60 MiB with an emoji": post(
            "/retrieve", b'{"text": "\xf0\x9f\x98\x80' + b"a" * 60 * MIB + b'"}', JSON
        ),
        "JSON of 99 thousand objects": post(
            "/retrieve", b'{"filter":{"source":[' + b'{"a":1},' * 49_000 + b"{}]}}", JSON
        ),
        "escapes of 60 MiB": post(
            "/retrieve", b"text=" + b"%41" * 20 * MIB, "application/x-www-form-urlencoded"
        ),
        "data URI of 60 MiB of escapes": post(
            "/embed/image",
            b'{"images":[{"data":"data:image/png;base64,' + b"%41" * 20 * MIB + b'"}]}',
            JSON,
        ),
    }  # fmt: skip


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _json(images: list[bytes]) -> bytes:
    return json.dumps({"images": [{"data": _base64(image)} for image in images]}).encode()


def _line(number: int, images: list[bytes]) -> bytes:
    study = {"study_id": f"large-{number}", "images": [{"data": _base64(each)} for each in images]}
    return json.dumps(study).encode()


def _form(files: list[bytes], text: bytes = b"") -> bytes:
    parts = [b'name="files"; filename="f"\r\n\r\n' + content for content in files]
    if text:
        parts.append(b'name="encoding"\r\n\r\n' + text)
    head = b"--x\r\nContent-Disposition: form-data; "
    return b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"
