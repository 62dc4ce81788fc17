"""Servers that fail, refuse, or answer in another form."""

import socket
from types import SimpleNamespace

import pytest

from service.deadline import Deadline
from service.errors import LlmUnavailable, ReportUngrounded
from service.reporting.llm import circuit_breaker, language_model, server
from service.reporting.llm.circuit_breaker import COOLDOWN_S, MAX_FAILURES, CircuitBreaker
from tests.service.reporting.llm.example import PROMPT, read


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"findings": "all well"}', "null"])
def test_an_answer_that_is_not_a_report_is_a_typed_error(draft, vllm, content):
    vllm.content = content
    with pytest.raises(ReportUngrounded):
        draft()


def test_a_server_that_dies_while_it_writes_is_unavailable(model, vllm):
    vllm.cuts_after = 70
    for _ in range(MAX_FAILURES):
        sentences = model.draft(PROMPT, Deadline(60)).sentences
        with pytest.raises(LlmUnavailable):
            list(sentences)
    with pytest.raises(LlmUnavailable, match="just now"):
        model.draft(PROMPT, Deadline(60))


def test_a_server_that_hangs_makes_room_for_the_next(vllm, open_model, monkeypatch):
    monkeypatch.setattr(server, "CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as hung:  # takes connections, answers none
        model = open_model(f"http://127.0.0.1:{hung.getsockname()[1]}/v1", vllm.url)
        for _ in range(4):
            assert read(model.draft(PROMPT, Deadline(60))).model == "tiny"
    assert len(vllm.requests) == 4


def test_of_two_servers_the_one_that_answers_is_asked(vllm, open_model, closed_port):
    model = open_model(f"http://127.0.0.1:{closed_port}/v1", vllm.url)
    for number in range(1, 5):
        assert read(model.draft(PROMPT, Deadline(60))).model == "tiny"
        assert len(vllm.requests) == number


def test_no_server_is_unavailable(open_model, closed_port):
    model = open_model(f"http://127.0.0.1:{closed_port}/v1")
    with pytest.raises(LlmUnavailable):
        model.draft(PROMPT, Deadline(60))


def test_a_server_that_fails_once_is_asked_once_more(draft, vllm):
    vllm.statuses = [503]
    assert draft().model == "tiny"
    assert len(vllm.requests) == 2


def test_a_request_without_time_for_a_second_try_fails_at_once(draft, vllm, monkeypatch):
    monkeypatch.setattr(language_model, "PAUSE_S", (90, 91))
    vllm.statuses = [503]
    with pytest.raises(LlmUnavailable, match="503"):
        draft(60)
    assert len(vllm.requests) == 1


def test_failures_that_are_not_in_a_row_begin_no_cooldown(draft, vllm):
    for _ in range(2 * MAX_FAILURES):
        vllm.statuses = [503]
        assert draft().model == "tiny"


def test_a_busy_server_is_asked_once_more_and_never_cools_down(draft, vllm):
    vllm.status = 429
    for _ in range(MAX_FAILURES):
        with pytest.raises(LlmUnavailable, match="429") as busy:
            draft()
    assert busy.value.retry_after_s > 0
    assert len(vllm.requests) == 2 * MAX_FAILURES


@pytest.mark.parametrize("status", [401, 404])
def test_a_server_that_refuses_the_key_or_the_models_name_is_unavailable(draft, vllm, status):
    vllm.status = status
    for _ in range(MAX_FAILURES):
        with pytest.raises(LlmUnavailable, match=str(status)):
            draft()


def test_a_failing_server_is_unavailable_with_a_time_to_retry(draft, vllm):
    vllm.status = 503
    with pytest.raises(LlmUnavailable) as unavailable:
        draft()
    assert unavailable.value.retry_after_s > 0


@pytest.fixture
def clock(monkeypatch):
    """The circuit breakers' time, which passes only when a test says so."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(circuit_breaker, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_a_server_that_failed_again_cools_down_before_it_is_asked(draft, vllm, clock):
    vllm.status = 503
    with pytest.raises(LlmUnavailable):
        draft()
    vllm.status = 200
    with pytest.raises(LlmUnavailable, match="just now") as cooling:
        draft()
    assert cooling.value.retry_after_s == COOLDOWN_S
    assert len(vllm.requests) == MAX_FAILURES
    clock.seconds += COOLDOWN_S
    assert draft().model == "tiny"


def test_a_success_ends_a_row_of_failures(clock):
    breaker = CircuitBreaker()
    for _ in range(2):
        for _ in range(MAX_FAILURES - 1):
            breaker.record_failure()
        breaker.record_success()
    assert breaker.cooldown_s == 0
    for _ in range(MAX_FAILURES):
        breaker.record_failure()
    clock.seconds += 1
    assert breaker.cooldown_s == COOLDOWN_S - 1


WRONG_SHAPES = [
    {},
    [1],
    "text",
    b"no json",
    {"data": None, "choices": None},
    {"data": [], "choices": []},
    {"data": [{}], "choices": [{}]},
    {"data": [{"id": None}], "choices": [{"message": None}], "model": "tiny"},
    {"data": 1, "choices": [{"message": {"content": ["text"]}}], "model": "tiny"},
    {"choices": [{"message": {"content": "{}"}}], "model": None},
]


@pytest.mark.parametrize("form", WRONG_SHAPES, ids=str)
@pytest.mark.parametrize("part", ["listing", "answer"])
def test_a_server_that_answers_in_another_form_is_a_typed_error(draft, vllm, part, form):
    setattr(vllm, part, form or b"{}")
    with pytest.raises((LlmUnavailable, ReportUngrounded)):
        draft()


def test_a_server_without_a_model_is_unavailable(draft, vllm):
    vllm.models = []
    with pytest.raises(LlmUnavailable):
        draft()
