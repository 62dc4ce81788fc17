import base64
import json

import pytest

from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

HAND = dicom_bytes(dicom_dataset(BodyPartExamined="HAND", StudyDescription="Doe-Canary"))
IN_BASE64 = base64.b64encode(HAND).decode()
REQUESTS = {
    "embed": ("POST", "/embed/image", {"files": {"files": HAND}}),
    "classify": ("POST", "/classify", {"files": {"files": HAND}}),
    "retrieve": ("POST", "/retrieve", {"files": {"files": HAND}}),
    "report": ("POST", "/generate-report", {"files": {"files": HAND}}),
    "attention": ("POST", "/attention", {"files": {"files": HAND}, "data": {"text": "effusion"}}),
    "study": ("PUT", "/studies/s1", {"files": {"files": HAND}, "data": {"report": "Clear."}}),
    "studies": (
        "POST",
        "/studies",
        {
            "content": json.dumps({"study_id": "s1", "images": [{"data": IN_BASE64}]}),
            "headers": {"content-type": "application/x-ndjson"},
        },
    ),
    "openai": (
        "POST",
        "/v1/embeddings",
        {"json": {"model": "phantom-demo", "input": f"data:application/dicom;base64,{IN_BASE64}"}},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_no_endpoint_takes_a_hand(client, problem, name):
    method, path, content = REQUESTS[name]
    answer = client.request(method, path, **content)
    detail = problem(answer, 422, "image/not-a-radiograph")["detail"]
    assert "names another region, hand." in detail
    assert "Canary" not in answer.text
    assert client.get("/studies/s1").status_code == 404
