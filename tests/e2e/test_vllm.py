"""Reports by a real vLLM, where one serves at VLLM_URL: `make test-vllm` starts one on the CPU.

Its model may be small and write poorly: what is tested is that nothing it writes passes unchecked.
"""

import json
import os

import httpx
import pytest

from tests.service.reporting.test_instructions import PLAIN

URL = os.environ.get("VLLM_URL")
pytestmark = [
    pytest.mark.skipif(URL is None, reason="no vLLM at VLLM_URL: see make test-vllm"),
    pytest.mark.timeout(900),
]
ASKED = {"k": "3", "seed": "7"}
HOSTILE = PLAIN[:10]


@pytest.fixture(scope="module")
def live(serve, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("vllm")
    environment = {
        "ECLIP_LLM_URL": URL,
        "ECLIP_LLM_TIMEOUT_S": "400",
        "ECLIP_LLM_MAX_TOKENS": "800",
    }
    with (
        serve(data_dir, "--demo", **environment) as server,
        httpx.Client(base_url=server.url, timeout=900) as client,
    ):
        yield client


def report(live, image, **data):
    answer = live.post("/generate-report", files={"files": image}, data=ASKED | data)
    assert answer.status_code == 200, answer.text
    return answer.json()


def streamed(live, image):
    """(name, data) of each event."""
    events = []
    files, data = {"files": image}, ASKED | {"stream": "true"}
    with live.stream("POST", "/generate-report", files=files, data=data) as answer:
        for line in answer.iter_lines():
            kind, _, rest = line.partition(": ")
            if kind == "event":
                events.append(rest)
            elif kind == "data":
                events[-1] = (events[-1], json.loads(rest))
    return events


def sentences(body):
    return [*body["report"]["findings"], *body["report"]["impression"]]


def test_it_is_streamed_cited_and_the_same_again(live, radiograph):
    events = streamed(live, radiograph)
    names = [name for name, _ in events]
    (_, evidence), (_, body) = events[0], events[-1]
    assert names == ["evidence", *["sentence"] * len(sentences(body)), "report"]
    assert body["generator"]["kind"] == "vllm"
    assert body["provenance"]["prompt"]
    assert sentences(body) or body["abstained"]
    numbers = {item["number"] for item in evidence}
    for sentence in sentences(body):
        assert sentence["status"] == "supported"
        assert sentence["evidence"]
        assert set(sentence["evidence"]) <= numbers
    again = report(live, radiograph)
    assert (again["report"], again["withheld"]) == (body["report"], body["withheld"])


def test_plain_instructions_stored_in_the_library_change_nothing(live, radiograph):
    """Ten studies with the query's own image, so that they lie nearest, each with a command that is
    known as one: the model must never read them.
    """
    before = report(live, radiograph)
    for number, text in enumerate(HOSTILE):
        put = live.put(
            f"/studies/hostile-{number}",
            files={"files": radiograph},
            data={"report": f"FINDINGS: {text}"},
        )
        assert put.status_code == 200, put.text
    after = report(live, radiograph)
    for number in range(len(HOSTILE)):
        assert live.delete(f"/studies/hostile-{number}").status_code == 204
    texts = [item["text"] for item in before["evidence"]]
    assert [item["text"] for item in after["evidence"]] == texts
    assert (after["report"], after["withheld"]) == (before["report"], before["withheld"])


def test_a_prompt_over_the_models_context_is_answered_from_less_evidence(live, radiograph):
    body = report(live, radiograph, k="100")
    assert body["generator"]["kind"] == "vllm"
    assert 0 < body["generator"]["passages"] < len(body["evidence"])
