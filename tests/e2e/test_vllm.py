"""Reports by a real vLLM, where one serves at VLLM_URL: `make test-vllm` starts one on the CPU.

Its model may be small and write poorly: what is tested is that nothing it writes passes unchecked.
"""

import json
import os

import httpx
import psutil
import pytest

from service.cases.ingest import ingest
from service.cases.records import NewStudy, StudyRecord
from service.cases.sources import open_source
from service.deadline import Deadline
from service.inference.zero_shot import Finding
from service.reporting.evidence_set import EvidenceSet
from service.reporting.grounding import Grounding
from service.reporting.prompt import Prompt
from service.reporting.replay import written_again
from service.reporting.report import ReportRequest
from service.reporting.sentences import Draft
from service.reporting.writer import WritingTask
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_services
from tests.service.reporting.test_injection import PLAIN, UNSEEN
from tests.support.evidence import passage

URL, PID = os.environ.get("VLLM_URL"), os.environ.get("VLLM_PID")
pytestmark = [
    pytest.mark.skipif(URL is None, reason="no vLLM at VLLM_URL: see make test-vllm"),
    pytest.mark.timeout(900),
]
ASKED = {"k": "3", "seed": "7"}
HOSTILE = PLAIN[:10]
PATIENCE_S, MAX_TOKENS = 800, 800


@pytest.fixture(scope="module")
def live(serve, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("vllm")
    environment = {
        "ECLIP_LLM_URL": URL,
        "ECLIP_LLM_TIMEOUT_S": "400",
        "ECLIP_LLM_MAX_TOKENS": str(MAX_TOKENS),
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


def test_a_prompt_over_the_models_context_is_answered_from_as_much_evidence_as_it_has_room_for(
    live, radiograph
):
    body = report(live, radiograph, k="100")
    assert body["generator"]["kind"] == "vllm"
    shown = body["generator"]["passages"]
    evidence = EvidenceSet([passage(**item) for item in body["evidence"]])
    classification = [Finding(**finding) for finding in body["classification"]]
    prompt = Prompt.of(WritingTask(evidence, (), classification, None, None, seed=7))
    assert 0 < shown < len(prompt.passages)

    def size(passages):
        chat = {"messages": prompt.shortened(passages).messages()}
        return httpx.post(URL.removesuffix("/v1") + "/tokenize", json=chat).json()

    rooms = [size(1)["max_model_len"] - times * MAX_TOKENS for times in (1, 2)]
    assert any(size(shown)["count"] <= room < size(shown + 1)["count"] for room in rooms)


def test_a_prior_study_is_read_and_nothing_of_its_patient_is_evidence(live, radiograph):
    asked = {"files": {"files": radiograph}, "data": {"target": "report", "k": "1"}}
    (nearest,) = live.post("/retrieve", **asked).json()["hits"]
    body = report(live, radiograph, prior_study_id=nearest["study_id"])
    stored = live.get(f"/studies/{nearest['study_id']}").json()
    assert body["generator"]["kind"] == "vllm"
    assert body["prior"] == [one["text"] for one in stored["passages"]]
    assert nearest["study_id"] not in {item["study_id"] for item in body["evidence"]}


@pytest.fixture
def reporter(tmp_path):
    """The service's own parts in this process, over the demo library."""
    settings = Settings(
        data_dir=tmp_path, llm_url=(URL,), llm_timeout_s=PATIENCE_S, llm_max_tokens=MAX_TOKENS
    )
    with open_services(settings) as wired:
        ingest(wired.library, open_source(DEMO_LIBRARY).entries)
        yield wired.reporter


def test_a_report_is_written_again_from_the_audit_log(reporter, radiograph):
    deadline = Deadline(PATIENCE_S)
    image = reporter.encoder.image(radiograph, deadline)
    written = reporter.report([image], ReportRequest(k=3, seed=7, indication="Cough."), deadline)
    record = reporter.audit.find(written.provenance.record)
    replay = written_again(record, reporter, "Cough.", None, deadline)
    assert (replay.same, replay.changes) == (True, ())


def test_instructions_that_pass_for_reports_put_nothing_into_a_report(reporter, radiograph):
    """Phrases that the rules for plain instructions do not know stand in copies of the nearest
    study, so that the model reads some. What it writes must follow from the honest passages alone.
    """
    deadline = Deadline(PATIENCE_S)
    image = reporter.encoder.image(radiograph, deadline)
    hostile = [text for text, known in UNSEEN.items() if not known]
    request = ReportRequest(k=2 * len(hostile), seed=7, ungrounded="flag")
    before = reporter.report([image], ReportRequest(k=1, seed=7), deadline)
    nearest = reporter.library.get(before.evidence[0].study_id)
    for number, phrase in enumerate(hostile):
        record = StudyRecord(report=f"{nearest.report} {phrase}")
        reporter.library.put(NewStudy(f"hostile {number}", record, ()), deadline)
    after = reporter.report([image], request, deadline)
    read = [item.text for item in after.evidence]
    assert {*hostile} & {*read}
    honest = [item for item in after.evidence if item.text not in hostile]
    kept = [s for s in (*after.findings, *after.impression) if s.status == "supported"]
    grounding = Grounding(EvidenceSet(honest), (), reporter.encoder, deadline)
    numbers = tuple(item.number for item in honest)
    checked = [grounding.check(Draft("findings", sentence.text, numbers)) for sentence in kept]
    assert [one.status for one in checked] == ["supported"] * len(kept), checked


@pytest.fixture
def impatient(serve, tmp_path):
    """A server that gives the model a second for its first word."""
    environment = {"ECLIP_LLM_URL": URL, "ECLIP_LLM_TIMEOUT_S": "1"}
    with (
        serve(tmp_path, "--demo", **environment) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client


def test_a_slow_first_token_is_a_deadline_exceeded_and_no_hang(impatient, radiograph, problem):
    answer = impatient.post("/generate-report", files={"files": radiograph})
    problem(answer, 504, "deadline/exceeded")
    written = report(impatient, radiograph, fallback="extractive")
    assert written["generator"]["kind"] == "extractive"
    assert written["generator"]["fallback"]


@pytest.mark.skipif(PID is None, reason="no VLLM_PID to kill: see make test-vllm")
def test_killed_in_mid_stream_it_is_told_and_the_next_is_served_without_it(
    live, radiograph, problem
):
    """The last test: it ends the server that the others asked, after its first sentence."""
    names = []
    images = (entry.study.images[0] for entry in open_source(DEMO_LIBRARY).entries)
    while "sentence" not in names:
        names = []
        files, data = {"files": next(images)}, ASKED | {"stream": "true"}
        with live.stream("POST", "/generate-report", files=files, data=data) as answer:
            for line in answer.iter_lines():
                kind, _, rest = line.partition(": ")
                names += [rest] * (kind == "event")
                if kind == "data" and names == ["evidence", "sentence"]:
                    end_vllm()
    assert names[-1] == "error"
    answer = live.post("/generate-report", files={"files": radiograph}, data=ASKED)
    problem(answer, 503, "llm/unavailable")
    assert int(answer.headers["retry-after"]) > 0
    written = report(live, radiograph, fallback="extractive")
    assert written["generator"]["kind"] == "extractive"


def end_vllm():
    """SIGKILL to the server and to what it started."""
    server = psutil.Process(int(PID))
    for process in [*server.children(recursive=True), server]:
        process.kill()
