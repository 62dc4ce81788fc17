import base64

import numpy as np
import pytest
from openai import OpenAI

MODEL = "phantom-demo"


def data_uri(data):
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def openai(client):
    """OpenAI's own client, over the app in this process."""
    return OpenAI(base_url="http://127.0.0.1/v1", api_key="none", http_client=client)


def test_openais_own_client_gets_the_vectors_of_the_other_endpoints(client, openai, radiograph):
    answer = openai.embeddings.create(model=MODEL, input=["Nodule.", data_uri(radiograph)])
    assert answer.model == MODEL
    assert answer.usage.prompt_tokens > 0
    text = client.post("/embed/text", json={"texts": ["Nodule."]}).json()["items"][0]
    image = client.post("/embed/image", files={"files": radiograph}).json()["items"][0]
    for got, expected in zip(answer.data, (text, image), strict=True):
        np.testing.assert_allclose(got.embedding, expected["embedding"], atol=1e-5)


def test_one_string_is_one_input(client):
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": "Nodule.", "user": "u"})
    (item,) = answer.json()["data"]
    assert (item["object"], item["index"], len(item["embedding"])) == ("embedding", 0, 128)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"model": "gpt", "input": "a"}, 404, "bundle/unknown"),
        ({"input": "a"}, 400, "request/malformed"),
        ({"model": MODEL}, 400, "request/malformed"),
        ({"model": MODEL, "input": []}, 400, "request/malformed"),
        ({"model": MODEL, "input": [[1, 2]]}, 400, "request/malformed"),
        ({"model": MODEL, "input": ["a"] * 65}, 400, "request/malformed"),
        ({"model": MODEL, "input": ""}, 422, "text/invalid"),
        ({"model": MODEL, "input": "data:image/png,plain"}, 400, "request/malformed"),
        ({"model": MODEL, "input": "data:image/png;base64,%%%"}, 422, "image/undecodable"),
        ({"model": MODEL, "input": "data:image/png;base64,AAAA"}, 415, "image/unsupported"),
    ],
)
def test_what_cannot_be_embedded_is_refused(client, problem, body, status, kind):
    problem(client.post("/v1/embeddings", json=body), status, kind)
