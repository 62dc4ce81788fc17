"""As many passages are shown as the model's context holds."""

import pytest

from service.deadline import Deadline
from service.errors import ReportCut, ReportUngrounded
from service.reporting.llm import server
from service.reporting.llm.circuit_breaker import MAX_FAILURES
from service.reporting.llm.context import halves, passages_that_fit
from tests.service.reporting.llm.example import NINE, PROMPT, TASK, read
from tests.support.openai_server import Handler, shown, words


def tokens(passages):
    """Tokens of a prompt with so many passages, and of the answer's hundred."""
    return words(NINE.shortened(passages).messages()) + 100


@pytest.mark.parametrize("room", range(12))
def test_as_many_passages_fit_as_have_room(room):
    assert passages_that_fit(9, lambda passages: passages - room) == min(room, 9)


def test_halves_end_with_one():
    assert list(halves(9)) == [9, 4, 2, 1]
    assert list(halves(0)) == []


@pytest.mark.parametrize("passages", [1, 2, 5, 8, 9])
def test_the_nearest_passages_that_the_context_has_room_for_are_shown(model, vllm, passages):
    for context in {tokens(passages), tokens(passages + 1) - 1} if passages < 9 else {tokens(9)}:
        vllm.context = context
        started = model.draft(NINE, Deadline(60))
        assert read(started).drafts
        assert started.passages == passages
    assert all(shown(request) == [*range(1, passages + 1)] for request in vllm.requests)


def test_a_context_without_room_for_any_passage_is_an_error_that_says_so(model, vllm):
    vllm.context = tokens(1) - 1
    with pytest.raises(ReportUngrounded, match="longer context"):
        model.draft(NINE, Deadline(60))
    assert vllm.requests == []


def test_a_longer_draft_has_room_for_fewer_passages(model, vllm):
    vllm.context = tokens(9) + 50
    assert model.draft(NINE, Deadline(60)).passages == 9
    assert 0 < model.draft(NINE, Deadline(60), longer=True).passages < 9


def test_a_cut_answer_whose_context_has_no_room_for_a_longer_one_says_so(model, vllm):
    vllm.context, vllm.content, vllm.finish = tokens(1) + 50, '{"findings": [', "length"
    with pytest.raises(ReportCut, match=r"100 tokens.*longer context"):
        list(model.write(TASK, Deadline(60)))
    assert len(vllm.requests) == 1


COUNTS_NOT = {
    "knows no such path": lambda handler: handler.answer(405, {"detail": "Method Not Allowed"}),
    "fails": lambda handler: handler.answer(501, {}),
    "knows no context": lambda handler: handler.answer(200, {"count": 9, "max_model_len": -1}),
    "answers in another form": lambda handler: handler.answer(200, {"tokens": []}),
    "answers with a page": lambda handler: handler.answer(200, b"<html>"),
    "hangs": Handler.hang,
    "hangs up": Handler.hang_up,
}


@pytest.mark.parametrize("count", COUNTS_NOT.values(), ids=COUNTS_NOT)
def test_a_server_that_counts_no_tokens_writes_all_the_same(model, vllm, monkeypatch, count):
    """And has not failed: drafts that are never read would not make up for it."""
    monkeypatch.setattr(server, "CONNECT_S", 0.3)
    vllm.count = count
    for number in range(1, MAX_FAILURES + 2):
        started = model.draft(PROMPT, Deadline(60))
        assert len(vllm.requests) == number
    assert read(started).model == "tiny"


def test_where_no_tokens_are_counted_a_refused_prompt_is_asked_with_the_nearer_half(model, vllm):
    vllm.most_passages = 2
    assert read(model.draft(NINE, Deadline(60))).drafts
    assert [shown(request) for request in vllm.requests] == [[*range(1, 10)], [1, 2, 3, 4], [1, 2]]


def test_a_server_to_which_every_prompt_is_too_long_is_an_error_and_may_be_asked_again(draft, vllm):
    vllm.most_passages = 0
    for _ in range(MAX_FAILURES):
        with pytest.raises(ReportUngrounded, match=r"even the shortest prompt.*maximum context"):
            draft()
    vllm.most_passages = None
    assert draft().model == "tiny"


def test_a_longer_answer_gets_room_where_no_tokens_are_counted(model, vllm):
    assert model.draft(NINE, Deadline(60), longer=True).passages == 5
    assert vllm.requests[0]["max_tokens"] == 200
