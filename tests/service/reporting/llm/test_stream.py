"""A draft is read while it is written, and ends when its time is up or nobody reads it."""

import threading

import pytest

from service.deadline import Deadline
from service.errors import DeadlineExceeded, LlmUnavailable
from service.reporting.llm import server
from service.reporting.llm.circuit_breaker import MAX_FAILURES
from service.reporting.sentences import Draft
from tests.service.reporting.llm.example import PROMPT, TASK, read

pytestmark = pytest.mark.slow

FIRST = Draft("findings", "Small left effusion.", (1,))
WELL_INTO_THE_SECOND = 110
"""Characters of the answer."""
LEAVES_S = 30
"""Seconds within which a server must notice that its client has left."""


def test_a_cited_draft_comes_with_the_models_name(draft):
    assert draft() == ("tiny", [FIRST, Draft("impression", "Effusion.", (1, 7))])


def test_a_sentence_is_yielded_while_the_next_is_written(model, vllm):
    vllm.stalls_after = WELL_INTO_THE_SECOND
    sentences = model.draft(PROMPT, Deadline(60)).sentences
    assert next(sentences) == FIRST
    assert not vllm.left.is_set()
    sentences.close()
    assert vllm.left.wait(LEAVES_S), "closing the sentences ends the writing"


def test_a_client_that_leaves_before_the_first_sentence_ends_the_writing(model, vllm):
    vllm.content, vllm.stalls_after = "{" * 20, 10
    steps = model.write(TASK, Deadline(60))
    next(steps)
    steps.close()
    assert vllm.left.wait(LEAVES_S)


def test_a_client_that_leaves_ends_the_writing(model, vllm):
    vllm.stalls_after, deadline = WELL_INTO_THE_SECOND, Deadline(60)
    sentences = model.draft(PROMPT, deadline).sentences
    next(sentences)
    deadline.cancel()
    with pytest.raises(DeadlineExceeded):
        next(sentences)
    assert vllm.left.wait(LEAVES_S)


@pytest.mark.parametrize("silent", ["before its headers", "after its headers"])
def test_a_client_that_leaves_a_silent_server_ends_the_request(model, vllm, silent):
    """Else 32 who left would keep out all others until the server's first word."""
    for _ in range(MAX_FAILURES + 1):
        vllm.hangs, vllm.stalls_after, vllm.stalls_with = silent.startswith("before"), 0, "nothing"
        deadline = Deadline(60)
        threading.Timer(0.2, deadline.cancel).start()
        with pytest.raises(DeadlineExceeded, match="deadline passed"):
            model.draft(PROMPT, deadline)
    vllm.hangs, vllm.stalls_after = False, None
    assert read(model.draft(PROMPT, Deadline(60))).drafts


def test_a_server_that_only_sends_comments_is_left_at_the_deadline(model, vllm):
    """Which would otherwise never end."""
    vllm.stalls_after, vllm.stalls_with = 0, "comments"
    with pytest.raises(DeadlineExceeded):
        read(model.draft(PROMPT, Deadline(0.5)))
    assert vllm.left.wait(LEAVES_S)


def test_a_listing_that_trickles_is_left_when_its_time_is_up(model, vllm, monkeypatch):
    """Which would otherwise never end."""
    monkeypatch.setattr(server, "CONNECT_S", 0.3)
    vllm.listing_trickles = True
    with pytest.raises(LlmUnavailable, match="does not answer"):
        model.draft(PROMPT, Deadline(60))


@pytest.mark.parametrize(("timeout_s", "seconds"), [(0.5, 60), (60, 0.5)])
def test_a_hung_model_meets_its_timeout_and_the_requests_deadline(
    vllm, open_model, timeout_s, seconds
):
    """It is asked once: a second time would take as long again."""
    vllm.hangs = True
    model = open_model(vllm.url, timeout_s=timeout_s)
    with pytest.raises(DeadlineExceeded, match="ECLIP_LLM_TIMEOUT_S"):
        model.draft(PROMPT, Deadline(seconds))
    assert len(vllm.requests) == 1


def test_a_request_whose_time_is_up_asks_nobody(draft, vllm):
    with pytest.raises(DeadlineExceeded):
        draft(0)
    assert vllm.requests == []
