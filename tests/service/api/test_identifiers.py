"""One rule of ids in every route: what is accepted can be read and removed, all else is refused."""

import json
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from service.identifiers import RULE

REPORT = "FINDINGS: Small left effusion."
ODD = st.sampled_from("aÄ/.+?#&=;:\\ 1\u00a0\u0301\u200b\n\0")
IDS = st.one_of(st.text(ODD, max_size=6), st.text(max_size=20))


def put(client, study, patient):
    body = {"report": REPORT, "patient_id": patient}
    return client.put(f"/studies/{quote(study, safe='')}", json=body)


def post(client, study, patient):
    line = json.dumps({"study_id": study, "patient_id": patient, "report": REPORT})
    return client.post("/studies", content=line)


def found(client, **exclude):
    return client.post("/retrieve", json={"text": "effusion", "exclude": exclude})


def require_reached(client, name):
    """Requires that each route reaches the study and the patient of this name."""
    path = quote(name, safe="")
    stored = client.get(f"/studies/{path}").json()
    assert post(client, name, name).json()["items"][0]["study"] == stored
    assert client.get(f"/studies/{path}/image").json()["type"] == "urn:eclip:study/unknown"
    assert found(client).json()["hits"]
    assert not found(client, study_id=name).json()["hits"]
    assert not found(client, patient_id=name).json()["hits"]
    assert client.delete(f"/studies/{path}").status_code == 204
    assert put(client, name, name).json() == stored
    assert client.delete(f"/patients/{path}").json()["studies"] == 1
    assert client.get("/studies").json()["studies"] == 0


def require_refused(client, name):
    """Requires that each route refuses the id by the rule, and stores nothing."""
    path = quote(name, safe="")
    answers = [
        post(client, name, "p"),
        post(client, "s", name),
        client.put("/studies/s", json={"report": REPORT, "patient_id": name}),
        found(client, study_id=name),
        found(client, patient_id=name),
    ]
    if name not in ("", ".", ".."):  # a client takes these out of the path
        answers += [
            put(client, name, "p"),
            client.get(f"/studies/{path}"),
            client.delete(f"/studies/{path}"),
            client.delete(f"/patients/{path}"),
        ]
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:eclip:request/malformed")
        assert RULE in answer.json()["detail"]
    assert client.get("/studies").json()["studies"] == 0


@pytest.mark.slow
def test_ids_in_the_paths_of_a_live_server_follow_the_rule(serve, tmp_path):
    """Starlette's test client decodes a path twice, so that only a server can show "%2F"."""
    with serve(tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        for name in ("%2F", "100%", "CR/2023/001", "a?b#c;d", "Ä 1", "a\\b", "image", "a/image/b"):
            assert put(client, name, name).status_code == 200, name
            require_reached(client, name)
        for name in ("a//b", "a/../b", "..", "a\nb", "zero\u200bwidth", "x" * 257):
            require_refused(client, name)


def test_an_id_is_never_taken_for_an_image_of_another_study(writable, problem):
    """`GET /studies/x/image` asks for the image of `x`: no study may be named so."""
    assert RULE in problem(post(writable, "x/image", "p"), 400, "request/malformed")["detail"]
    assert put(writable, "x/image", "p").status_code == 405
    assert writable.delete("/studies/x%2Fimage").headers["allow"] == "GET, HEAD"
    assert (
        RULE in problem(writable.delete("/patients/x%2Fimage"), 400, "request/malformed")["detail"]
    )


@pytest.mark.parametrize("name", ["image", "x/Image"])
def test_an_id_may_hold_the_word_image(writable, name):
    assert put(writable, name, name).status_code == 200
    require_reached(writable, name)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IDS)
def test_whatever_put_accepts_can_be_removed_and_all_else_is_refused_alike(writable, name):
    assume("%" not in name and not name.rstrip("\0 \t\r\n").endswith("/image"))
    if put(writable, name, name).status_code == 200:
        require_reached(writable, name)
    else:
        require_refused(writable, name)


def test_slashes_may_come_decoded_as_some_proxies_send_them(writable, radiograph):
    data = {"patient_id": "MRN/77"}
    writable.put("/studies/CR/2023/001", files={"files": radiograph}, data=data)
    for path in ("/studies/CR/2023/001", "/studies/CR%2F2023%2F001"):
        assert writable.get(path).status_code == 200
        assert writable.get(f"{path}/image?index=0").headers["content-type"] == "image/jpeg"
    assert writable.delete("/patients/MRN/77").json()["studies"] == 1


def test_bytes_that_are_not_utf_8_are_no_id(writable, problem):
    """Else Latin-1's Ä and Ö would both be U+FFFD, and one study would replace the other."""
    answer = writable.put("/studies/%C4", json={"report": REPORT})
    assert RULE in problem(answer, 400, "request/malformed")["detail"]


def test_a_prior_study_may_have_slashes_and_must_keep_the_rule(writable, problem, radiograph):
    put(writable, "CR/2023/001", "MRN/77")
    put(writable, "other", "p")

    def asked(prior):
        data = {"prior_study_id": prior}
        return writable.post("/generate-report", files={"files": radiograph}, data=data)

    own = writable.get("/studies/CR%2F2023%2F001").json()["study_id"]
    evidence = asked("CR/2023/001").json()["evidence"]
    assert {item["study_id"] for item in evidence}.isdisjoint({own})
    assert RULE in problem(asked("a//b"), 400, "request/malformed")["detail"]


def test_a_path_that_ends_in_a_slash_names_no_study(writable):
    assert writable.get("/studies/").json()["studies"] == 0
