"""A bundle that encodes images alone: what needs a text model says so, and all else works."""

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from service import pacs_wiring
from service.errors import TextUnavailable
from service.settings import DEMO_BUNDLE, Settings
from tests.support.changed_bundles import image_only
from tests.support.server import in_process

REPORT = "FINDINGS: Small left pleural effusion. No pneumothorax. IMPRESSION: Effusion."
CLEAR = "FINDINGS: The lungs are clear."
LABELS = json.dumps({"mass": {"present": ["A mass."], "absent": ["No mass."]}})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return image_only(Path(shutil.copytree(DEMO_BUNDLE, tmp_path_factory.mktemp("b") / "bundle")))


@pytest.fixture(scope="module")
def images(bundle, tmp_path_factory, pictures):
    """The app, with three studies of which two have a report."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("var"), bundle=bundle.path)
    with in_process(settings) as images:
        for name, report, picture in zip("abc", (REPORT, CLEAR, None), pictures, strict=False):
            body = {} if report is None else {"report": report}
            stored = images.put(f"/studies/{name}", data=body, files={"files": picture})
            assert stored.status_code in (200, 201), stored.text
        yield images


def test_it_is_ready_and_shows_what_it_is(images):
    assert images.get("/health/ready").json()["status"] == "ready"
    shown = images.get("/bundle").json()
    assert (shown["manifest"]["has_text"], shown["label_sets"]) == (False, {})


def test_an_image_has_the_vector_that_it_had_with_texts(images, client, radiograph):
    ours, theirs = (
        each.post("/embed/image", files={"files": radiograph}).json()["items"][0]["embedding"]
        for each in (images, client)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_openais_form_embeds_images_and_refuses_texts(images, radiograph, problem):
    uri = f"data:image/png;base64,{base64.b64encode(radiograph).decode()}"
    asked = {"model": "images-alone", "input": [uri]}
    (item,) = images.post("/v1/embeddings", json=asked).json()["data"]
    assert len(item["embedding"]) == 128
    refused = images.post("/v1/embeddings", json=asked | {"input": [uri, "Nodule."]})
    problem(refused, 422, "bundle/no-text")


def test_an_image_finds_the_nearest_images(images, pictures):
    asked = {"target": "image", "k": 3}
    answer = images.post("/retrieve", files={"files": pictures[1]}, data=asked).json()
    assert [hit["part"] for hit in answer["hits"]] == ["image"] * 3
    assert answer["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert images.get(answer["hits"][0]["image_url"]).status_code == 200


@pytest.mark.parametrize("target", ["report", "passage"])
def test_texts_are_found_by_their_words(images, target):
    asked = {"text": "pneumothorax", "mode": "sparse", "target": target}
    (hit,) = images.post("/retrieve", json=asked).json()["hits"]
    assert "No pneumothorax." in hit["text"]


def test_a_study_is_stored_with_its_report_and_removed(images, radiograph):
    body, files = {"report": CLEAR}, {"files": radiograph}
    assert images.put("/studies/d", data=body, files=files).status_code in (200, 201)
    study = images.get("/studies/d").json()
    assert study["report"] == CLEAR
    assert images.put("/studies/d", data=body, files=files).status_code in (200, 201)
    assert images.delete("/studies/d").status_code == 204
    assert images.get("/studies/d").status_code == 404


def test_it_shows_where_it_looked(images, radiograph, client):
    ours, theirs = (
        each.post("/attention", files={"files": radiograph}).json()["maps"]
        for each in (images, client)
    )
    assert list(ours) == ["attention"]
    assert ours["attention"]["grid"] == theirs["attention"]["grid"]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/classify", {}),
        ("/classify", {"label_set": "phantom"}),
        ("/classify", {"labels": LABELS}),
        ("/attention", {"text": "effusion"}),
        ("/generate-report", {}),
        ("/generate-report", {"stream": "true"}),
        ("/retrieve", {}),
        ("/retrieve", {"target": "passage"}),
    ],
)
def test_what_needs_texts_besides_an_image_says_so(images, radiograph, problem, path, parameters):
    answer = images.post(path, files={"files": radiograph}, data=parameters)
    detail = problem(answer, 422, "bundle/no-text")["detail"]
    assert detail.startswith("Bundle images-alone has no text model")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed/text", {"texts": ["Nodule."]}),
        ("/retrieve", {"text": "Nodule.", "target": "image"}),
        ("/retrieve", {"text": "Nodule."}),
        ("/retrieve", {"text": "Nodule.", "mode": "hybrid"}),
    ],
)
def test_what_encodes_a_text_says_so(images, problem, path, body):
    problem(images.post(path, json=body), 422, "bundle/no-text")


def test_nothing_is_received_of_which_no_report_could_be_made(images):
    wired = images.app.state.services
    with pytest.raises(TextUnavailable), pacs_wiring.receiving(wired):
        pass
