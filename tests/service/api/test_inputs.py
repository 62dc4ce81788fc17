"""Requests as real clients send them: content types, forms, nulls, and bounds."""

import json

import pytest

SEARCH = {"text": "effusion", "k": 3}


def hits(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;Charset=UTF-8",
        "text/plain;charset=UTF-8",
        "application/vnd.api+json",
        "application/x-www-form-urlencoded",
        "",
    ],
)
def test_json_is_read_under_any_content_type(client, kind):
    """curl calls it URL-encoded and a browser's fetch plain text, unless they are told."""
    expected = hits(client.post("/retrieve", json=SEARCH))
    content = "\ufeff" + json.dumps(SEARCH)
    answer = client.post("/retrieve", content=content.encode(), headers={"content-type": kind})
    assert hits(answer) == expected


def test_a_url_encoded_form_is_a_form(client, problem):
    expected = hits(client.post("/retrieve", json=SEARCH))
    assert hits(client.post("/retrieve", data=SEARCH)) == expected
    problem(client.post("/retrieve", data=SEARCH | {"k": "many"}), 400, "request/malformed")
    kind = {"content-type": "application/x-www-form-urlencoded"}
    latin = client.post("/retrieve", content=b"text=%C4", headers=kind)
    assert "UTF-8" in problem(latin, 400, "request/malformed")["detail"]
    many = client.post("/retrieve", content=b"&".join([b"a=1"] * 65), headers=kind)
    problem(many, 400, "request/malformed")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "IMAGE/PNG"])
def test_an_image_is_read_under_any_content_type(client, radiograph, kind):
    headers = {"content-type": kind}
    answer = client.post("/embed/image?encoding=base64", content=radiograph, headers=headers)
    assert isinstance(answer.json()["items"][0]["embedding"], str)


def test_a_forms_content_type_may_have_any_case(client, radiograph):
    answer = client.post("/embed/image", files={"files": radiograph})
    kind = answer.request.headers["content-type"]
    shouted = kind.replace("multipart/form-data; boundary", "Multipart/Form-Data; Boundary")
    body = answer.request.read()
    again = client.post("/embed/image", content=body, headers={"content-type": shouted})
    assert again.json() == answer.json()


def test_a_batch_of_studies_may_come_as_a_form_of_any_case_or_as_a_json_list(writable):
    lines = [{"study_id": name, "report": "Effusion."} for name in ("a", "b")]
    lists = writable.post("/studies", json=lines)
    assert [item["index"] for item in lists.json()["items"]] == [0, 1]
    form = writable.post("/studies", files={"studies": (None, json.dumps(lines))})
    kind = form.request.headers["content-type"].replace(
        "multipart/form-data", "Multipart/form-Data"
    )
    again = writable.post("/studies", content=form.request.read(), headers={"content-type": kind})
    marked = "\ufeff" + "\r\n".join(map(json.dumps, lines))
    batch = writable.post("/studies", content=marked.encode())
    assert lists.json() == form.json() == again.json() == batch.json()


@pytest.mark.parametrize(
    "nulls",
    [
        {"k": None, "target": None, "mode": None, "filter": None, "exclude": None},
        {"offset": None, "group_by": None, "min_score": None, "diversity": None, "images": None},
        {"filter": {"source": None, "view": None}, "exclude": {"patient_id": None}},
    ],
)
def test_null_is_as_if_left_out(client, nulls):
    """Clients write a field that was not set as null."""
    assert hits(client.post("/retrieve", json={"text": "effusion"} | nulls)) == hits(
        client.post("/retrieve", json={"text": "effusion"})
    )


def test_null_in_a_study_is_as_if_left_out(writable):
    names = ("patient_id", "source", "view", "findings", "metadata", "images")
    line = {"study_id": "s1", "report": "Effusion."}
    plain = writable.post("/studies", json=[line]).json()["items"][0]
    nulls = writable.post("/studies", json=[line | dict.fromkeys(names)]).json()["items"][0]
    assert nulls == plain
    put = writable.put("/studies/s1", json={"report": "Effusion."} | dict.fromkeys(names))
    assert put.json() == plain["study"]


@pytest.mark.parametrize(
    ("truth", "streamed"),
    [("true", 1), ("True", 1), ("1", 1), ("on", 1), ("yes", 1), ("false", 0), ("0", 0), ("off", 0)],
)
def test_a_form_writes_numbers_and_truth_as_texts(client, radiograph, truth, streamed):
    data = {"k": "2", "seed": "7", "min_score": "1", "stream": truth}
    answer = client.post("/generate-report", files={"files": radiograph}, data=data)
    assert answer.headers["content-type"].startswith("text/event-stream") is bool(streamed)


def test_a_file_in_a_field_of_another_name_is_refused_in_words(client, problem, radiograph):
    for name in ("file", "image", "files[]"):
        answer = client.post("/classify", files={name: radiograph})
        assert "`files`" in problem(answer, 400, "request/malformed")["detail"]


def test_a_file_without_a_name_is_refused_in_words(client, problem, radiograph):
    head = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/classify", content=head + radiograph + b"\r\n--x--\r\n", headers=kind)
    assert "filename" in problem(answer, 400, "request/malformed")["detail"]


def test_an_image_in_json_may_be_a_data_uri(client, radiograph, in_base64):
    plain = in_base64(radiograph)
    items = [{"data": plain}, {"data": f"data:image/png;base64,{plain}"}]
    first, second = client.post("/embed/image", json={"images": items}).json()["items"]
    assert first["embedding"] == second["embedding"]


def test_one_bound_of_images_in_every_form(writable, problem, radiograph, in_base64):
    """The settings of `writable` let in four."""
    item, file = {"data": in_base64(radiograph)}, ("files", ("1.png", radiograph))
    for path in ("/embed/image", "/classify", "/generate-report"):
        for number, status in ((4, 200), (5, 400)):
            assert writable.post(path, json={"images": [item] * number}).status_code == status
            assert writable.post(path, files=[file] * number).status_code == status
    over = writable.put("/studies/s1", json={"images": [item] * 5})
    problem(over, 400, "request/malformed")


def test_one_bound_of_images_of_a_study_in_every_route(client, problem):
    """Sixteen, whether it is stored, indexed or reported on."""
    images = [{"data": "AAAA"}] * 17
    for answer in (
        client.put("/studies/s1", json={"images": images}),
        client.post("/studies", json=[{"study_id": "s1", "images": images}]),
        client.post("/generate-report", json={"images": images}),
    ):
        assert "16" in problem(answer, 400, "request/malformed")["detail"]


def test_one_bound_of_characters_for_every_text(client, writable, problem):
    at, over = "x " * 10_000, "x " * 10_000 + "x"
    assert client.post("/embed/text", json={"texts": [at]}).status_code == 200
    assert writable.put("/studies/s1", json={"report": at[:-1] + "x"}).status_code == 200
    for answer in (
        client.post("/embed/text", json={"texts": [over]}),
        client.post("/v1/embeddings", json={"model": "phantom-demo", "input": over}),
        client.post("/retrieve", json={"text": over}),
        client.post("/retrieve", json={"text": over, "mode": "sparse"}),
        client.put("/studies/s1", json={"report": over}),
        client.post("/studies", json=[{"study_id": "s1", "report": over}]),
    ):
        problem(answer, 422, "text/invalid")


def test_a_form_takes_as_long_a_list_of_studies_as_other_bodies(writable):
    """A field has no bound of its own, under that of the body."""
    lines = [{"study_id": f"s{n}", "report": "\u80ba " * 9_000, "metadata": {}} for n in range(4)]
    padded = json.dumps(lines) + " " * (5 << 20)
    answer = writable.post("/studies", files={"studies": (None, padded)})
    assert answer.status_code == 200, answer.text
