import base64
import io

import numpy as np
import pytest
from PIL import Image


def test_the_grid_is_one_cosine_a_patch(client, radiograph):
    answer = client.post("/attention", files={"files": radiograph}, data={"text": "Cardiomegaly."})
    grid = np.array(answer.json()["grid"])
    assert grid.shape == tuple(client.get("/bundle").json()["manifest"]["patch_grid"])
    assert np.abs(grid).max() <= 1 + 1e-5
    assert answer.json()["overlay"] is None


def test_the_overlay_is_a_picture_tinted_somewhere(client, radiograph):
    data = {"text": "Cardiomegaly.", "overlay": "true"}
    answer = client.post("/attention", files={"files": radiograph}, data=data)
    picture = Image.open(io.BytesIO(base64.b64decode(answer.json()["overlay"])))
    levels = np.asarray(picture).astype(int)
    assert picture.format == "PNG"
    tinted = levels[..., 0] - levels[..., 2] > 20
    assert 0 < tinted.mean() < 0.9


@pytest.mark.parametrize("data", [{}, {"text": "a", "overlay": "perhaps"}])
def test_a_text_is_needed(client, problem, radiograph, data):
    answer = client.post("/attention", files={"files": radiograph}, data=data)
    problem(answer, 400, "request/malformed")


def test_exactly_one_image_is_needed(client, problem):
    problem(client.post("/attention", json={"text": "Nodule."}), 400, "request/malformed")
