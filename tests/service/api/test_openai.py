import base64
import hashlib

import numpy as np
import pytest
from openai import NotFoundError, OpenAI

from service.settings import Settings
from tests.support.server import in_process

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
        ({"model": None, "input": "a"}, 400, "request/malformed"),
        ({"model": MODEL, "input": None}, 400, "request/malformed"),
        ({"model": MODEL, "input": ["a", None]}, 400, "request/malformed"),
        ({"model": MODEL, "input": {"text": "a"}}, 400, "request/malformed"),
        ({"model": MODEL, "input": "a", "encoding_format": "hex"}, 400, "request/malformed"),
        ({"model": MODEL, "input": ["a"] * 257}, 400, "request/malformed"),
        ({"model": MODEL, "input": ["data:,a"] * 65}, 400, "request/malformed"),
        ({"model": MODEL, "input": ["a", ""]}, 422, "text/invalid"),
        ({"model": MODEL, "input": ""}, 422, "text/invalid"),
        ({"model": MODEL, "input": "data:image/png,plain"}, 400, "request/malformed"),
        ({"model": MODEL, "input": "data:image/png;base64,%%%"}, 422, "image/undecodable"),
        ({"model": MODEL, "input": "data:image/png;base64,AAAA"}, 415, "image/unsupported"),
    ],
)
def test_what_cannot_be_embedded_is_refused(client, problem, body, status, kind):
    problem(client.post("/v1/embeddings", json=body), status, kind)


def test_an_error_shows_its_words_in_openais_own_client(openai):
    """It prints `error.message`, and of a problem without it nothing but the status."""
    with pytest.raises(NotFoundError, match="phantom-demo") as refused:
        openai.embeddings.create(model="gpt", input="a")
    assert refused.value.type == "urn:eclip:bundle/unknown"
    assert refused.value.response.json()["detail"] == refused.value.body["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models/org/gpt"])
def test_every_problem_under_v1_has_openais_error(client, path):
    members = client.get(path).json()
    assert members["error"]["message"] == members["detail"]
    assert "error" not in client.get("/nothing").json()


def test_the_bundle_is_listed_as_the_one_model(client, openai):
    (model,) = openai.models.list().data
    assert (model.id, model.object, model.owned_by) == (MODEL, "model", "eclip")
    assert model.created > 0
    assert openai.models.retrieve(MODEL) == model
    whole = client.get("/bundle").json()["manifest"]["id"]
    assert openai.models.retrieve(whole) == model


@pytest.mark.parametrize(
    "more",
    [
        {"encoding_format": None},
        {"dimensions": None, "user": None},
        {"dimensions": 128},
        {"encoding_format": "float", "user": "u", "input_type": "query", "truncate": 1},
    ],
)
def test_null_is_absent_and_what_is_unknown_is_ignored(client, more):
    body = {"model": MODEL, "input": ["Nodule."]}
    plain = client.post("/v1/embeddings", json=body)
    answer = client.post("/v1/embeddings", json=body | more)
    assert answer.status_code == 200, answer.text
    assert answer.json() == plain.json()


@pytest.mark.parametrize("dimensions", [0, 64, 127, 256])
def test_vectors_of_another_length_are_refused_in_words(client, problem, dimensions):
    body = {"model": MODEL, "input": "a", "dimensions": dimensions}
    told = problem(client.post("/v1/embeddings", json=body), 400, "request/malformed")["detail"]
    assert "128" in told


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2, 3]], [[1], [2]], ["a", [1]], 5])
def test_token_ids_are_refused_in_words(client, problem, ids):
    """LangChain sends them unless it is told not to."""
    body = {"model": MODEL, "input": ids}
    told = problem(client.post("/v1/embeddings", json=body), 400, "request/malformed")["detail"]
    assert "Token ids" in told
    assert "check_embedding_ctx_length" in told


@pytest.mark.parametrize("value", [[], {}, 5.5, ["a", None], [["a"]], [{"type": "text"}]])
def test_what_is_neither_text_nor_token_ids_is_refused_in_words(client, problem, value):
    body = {"model": MODEL, "input": value}
    told = problem(client.post("/v1/embeddings", json=body), 400, "request/malformed")["detail"]
    assert "input: Send a text, or a list of texts and data URIs" in told


def test_as_many_texts_as_embed_text_takes_and_as_many_images_are_one_request(
    client, writable, problem, radiograph
):
    texts = [f"effusion {n}" for n in range(65)]
    assert client.post("/embed/text", json={"texts": texts}).status_code == 200
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": texts})
    assert [item["index"] for item in answer.json()["data"]] == list(range(65))
    both = ["a"] * 4 + [data_uri(radiograph)] * 4  # as many as the settings of `writable` let in
    assert writable.post("/v1/embeddings", json={"model": MODEL, "input": both}).status_code == 200
    for one_more in ("b", data_uri(radiograph)):
        body = {"model": MODEL, "input": [*both, one_more]}
        problem(writable.post("/v1/embeddings", json=body), 400, "request/malformed")


def test_a_text_that_begins_with_the_word_data_is_a_text(client):
    texts = ["data: no effusion, no mass", "Data, none:"]
    answer = client.post("/v1/embeddings", json={"model": MODEL, "input": texts})
    assert answer.json()["usage"]["prompt_tokens"] > 0


def test_a_key_is_asked_for_in_openais_form(client):
    keys = {hashlib.sha256(b"k").hexdigest(): ["read"]}
    with in_process(Settings(api_keys=keys), client.app.state.services) as app:
        refused = app.get("/v1/models")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error"]["type"] == "urn:eclip:auth/unauthenticated"
        with_key = OpenAI(base_url="http://127.0.0.1/v1/", api_key="k", http_client=app)
        assert with_key.models.list().data[0].id == MODEL
