"""The language model as a writer: attempts, slots and time."""

import json
from dataclasses import replace

import pytest

from service.deadline import Deadline
from service.errors import LlmUnavailable, QueueFull, ReportCut, ReportUngrounded
from service.reporting.sentences import Draft
from service.reporting.writer import WrittenBy
from service.telemetry import request_stages
from tests.service.reporting.llm.example import TASK
from tests.support.openai_server import GOOD

MODEL = WrittenBy("vllm", "tiny", passages=2)
FIRST = Draft("findings", "Small left effusion.", (1,))
SECOND = Draft("impression", "Effusion.", (1, 7))


@pytest.fixture
def write(model):
    return lambda: list(model.write(TASK, Deadline(60)))


def test_it_says_who_writes_and_then_what(write):
    with request_stages() as stages:
        assert write() == [MODEL, FIRST, SECOND]
    assert stages["llm"] > 0


def test_an_answer_that_is_cut_is_asked_for_again_with_twice_the_tokens(write, vllm):
    vllm.contents, vllm.finishes = [json.dumps(GOOD)[:110]], ["length"]
    assert write() == [MODEL, FIRST, replace(MODEL, passages=1), FIRST, SECOND]
    assert [request["max_tokens"] for request in vllm.requests] == [100, 200]


def test_a_stream_that_breaks_is_begun_again_once_with_as_many_tokens(write, vllm):
    vllm.cuts_after = 110
    with pytest.raises(LlmUnavailable):
        write()
    assert [request["max_tokens"] for request in vllm.requests] == [100, 100]


def test_a_second_answer_that_is_cut_too_is_the_error(write, vllm):
    vllm.content, vllm.finish = json.dumps(GOOD)[:110], "length"
    with pytest.raises(ReportCut, match=r"200 tokens.*ECLIP_LLM_MAX_TOKENS"):
        write()
    assert len(vllm.requests) == 2


def test_a_whole_answer_that_is_not_a_report_is_not_asked_for_again(write, vllm):
    """It would come back the same: the seed is given, and the temperature is 0."""
    vllm.content = "not json"
    with pytest.raises(ReportUngrounded, match="not the JSON report"):
        write()
    assert len(vllm.requests) == 1


def test_a_stream_that_ends_without_saying_why_is_begun_again_once(write, vllm):
    """As behind a proxy that gives up."""
    vllm.contents, vllm.finish = [json.dumps(GOOD)[:110]], None
    assert write() == [MODEL, FIRST, MODEL, FIRST, SECOND]
    assert [request["max_tokens"] for request in vllm.requests] == [100, 100]


def test_a_slot_is_held_while_it_writes_and_given_back_when_it_is_left(model, vllm):
    vllm.stalls_after = 110
    steps = [model.write(TASK, Deadline(60)) for _ in range(2)]
    for each in steps:
        assert next(each) == MODEL
    with pytest.raises(QueueFull, match="ECLIP_LLM_AT_ONCE"):
        next(model.write(TASK, Deadline(60)))
    for each in steps:
        each.close()
    vllm.stalls_after = None
    assert list(model.write(TASK, Deadline(60)))[-1] == SECOND


def test_a_report_too_many_is_refused_and_loses_no_slot(model):
    with model.slot(), model.slot():
        for _ in range(3):
            with pytest.raises(QueueFull, match="ECLIP_LLM_AT_ONCE"), model.slot():
                pass
    with model.slot(), model.slot():
        pass
