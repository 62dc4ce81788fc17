"""Answers in the forms in which servers send them."""

import json

import pytest

from service.deadline import Deadline
from service.errors import LlmRefused, LlmUnavailable, ReportCut, ReportUngrounded
from service.reporting.llm import completion
from service.reporting.writer import WrittenBy
from tests.service.reporting.llm.example import NINE, PROMPT, TASK, read
from tests.support.openai_server import GOOD, shown

pytestmark = pytest.mark.slow

REPORT = GOOD["findings"][0] | {"sentence": " Small left “effusion”, naïve 咳. "}
TEXT = json.dumps(GOOD | {"findings": [REPORT]}, ensure_ascii=False)
HALF = len(TEXT) // 2


def chunk(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice]} | more


def events(*bodies, start="data: ", end="\n\n", done="data: [DONE]\n\n"):
    """A stream of server-sent events; `start` and `end` are around each."""
    texts = (json.dumps(body, ensure_ascii=False) for body in bodies)
    return ("".join(start + text + end for text in texts) + done).encode()


PARTS = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": TEXT[:HALF]}),
    chunk({"content": TEXT[HALF:]}),
    chunk({}, "stop"),
]
OTHER_CHOICE = chunk({}) | {"choices": [{"index": 1, "delta": {"content": "No."}}]}
STREAMS = {
    "plain": events(*PARTS),
    "without blanks": events(*PARTS, start="data:", done="data:[DONE]\n\n"),
    "CRLF": events(*PARTS, end="\r\n\r\n", done="data: [DONE]\r\n\r\n"),
    "without DONE": events(*PARTS, done=""),
    "comments": events(*PARTS, start=": keep-alive\n\ndata: "),
    "OpenRouter's comments": b": OPENROUTER PROCESSING\n\n" + events(*PARTS),
    "names and ids": events(*PARTS, start="event: message\nid: 7\nretry: 10\ndata: "),
    "usage of none": events(*(part | {"usage": None} for part in PARTS)),
    "usage at the end": events(*PARTS, {"choices": [], "usage": {"completion_tokens": 3}}),
    "usage without choices": events(*PARTS, {"usage": {"completion_tokens": 3}, "choices": None}),
    "Azure's first event": events({"choices": [], "prompt_filter_results": []}, *PARTS),
    "deltas of none": events(PARTS[0] | {"choices": [{"index": 0, "delta": None}]}, *PARTS[1:]),
    "no index": events(PARTS[0] | {"choices": [{"delta": {}}]}, *PARTS[1:]),
    "several choices": events(*PARTS[:2], OTHER_CHOICE, *PARTS[2:]),
    "thoughts apart": events(chunk({"content": None, "reasoning_content": "Hm."}), *PARTS),
    "an error of none": events(*(part | {"error": None} for part in PARTS)),
    "the end with the text": events(*PARTS[:2], chunk({"content": TEXT[HALF:]}, "stop")),
    "parts of a content": events(
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]}),
        *(
            chunk({"content": [{"type": "text", "text": text}]})
            for text in (TEXT[:HALF], TEXT[HALF:])
        ),
        PARTS[-1],
    ),
    "a byte-order mark": b"\xef\xbb\xbf" + events(*PARTS),
}


@pytest.mark.parametrize("size", [1, 3, 100_000])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_is_read_in_any_form_and_any_pieces(draft, vllm, stream, size):
    """The pieces of one and three bytes also part the letters of UTF-8."""
    vllm.raw = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [one.text for one in draft().drafts] == ["Small left “effusion”, naïve 咳.", "Effusion."]


def whole(message, finish="stop"):
    message = {"role": "assistant", "content": None} | message
    return {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


@pytest.mark.parametrize("content", [TEXT, f"<think>Hm.</think>```json\n{TEXT}\n```"])
def test_an_answer_that_is_not_streamed_is_read_too(draft, vllm, content):
    vllm.answer = whole({"content": content})
    assert len(draft().drafts) == 2


UNREADABLE = {
    "filter": ({"content": "No"}, "content_filter", "content filter"),
    "refusal": ({"refusal": "I cannot."}, "stop", "refusal"),
    "tool": ({"tool_calls": [{"id": "1"}]}, "tool_calls", "call of a tool"),
    "function": ({"function_call": {"name": "f"}}, "function_call", "call of a tool"),
    "thoughts": ({"reasoning_content": TEXT}, "stop", "thoughts and no text"),
    "thoughts, by another name": ({"reasoning": TEXT}, "stop", "thoughts and no text"),
    "nothing": ({"content": ""}, "stop", "is empty"),
    "prose": ({"content": "All well."}, "stop", "not the JSON report"),
    "prose, by another end": ({"content": "All well."}, "eos", "not the JSON report"),
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("said", "finish", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_without_a_report_says_why_and_is_asked_for_once(
    model, vllm, said, finish, why, streamed
):
    if streamed:
        vllm.raw = [events(chunk(said), chunk({}, finish))]
    else:
        vllm.answer = whole(said, finish)
    with pytest.raises(ReportUngrounded, match=why) as unreadable:
        list(model.write(TASK, Deadline(60)))
    assert not isinstance(unreadable.value, ReportCut)
    assert "All well" not in unreadable.value.detail
    assert len(vllm.requests) == 1


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
@pytest.mark.parametrize("said", [{"content": TEXT[:HALF]}, {"reasoning_content": "Hm."}, {}])
def test_a_cut_answer_is_asked_for_again_with_more_room_and_then_told(model, vllm, said, finish):
    vllm.raw = [events(chunk(said), chunk({}, finish))]
    with pytest.raises(ReportCut, match=r"cut \(finish_reason: length\): it met 200 tokens"):
        list(model.write(TASK, Deadline(60)))
    assert [request["max_tokens"] for request in vllm.requests] == [100, 200]
    assert [len(shown(request)) for request in vllm.requests] == [2, 1]


@pytest.mark.parametrize("streamed", [True, False])
def test_where_the_server_counts_its_tokens_the_end_of_the_context_is_named(model, vllm, streamed):
    """More tokens of answer would not help there."""
    usage = {"prompt_tokens": 4000, "completion_tokens": 96}
    if streamed:
        end = chunk({}, "length") | {"usage": usage}
        vllm.raw = [events(chunk({"content": TEXT[:HALF]}), end)]
    else:
        vllm.answer = whole({"content": TEXT[:HALF]}, "length") | {"usage": usage}
    with pytest.raises(
        ReportCut, match="after 96 tokens it met the end of the model's context"
    ) as cut:
        list(model.write(TASK, Deadline(60)))
    assert "ECLIP_LLM_MAX_TOKENS" not in cut.value.detail
    assert [len(shown(request)) for request in vllm.requests] == [2, 1]


def test_an_answer_without_end_is_not_read_on(draft, vllm, monkeypatch):
    monkeypatch.setattr(completion, "MAX_CHARS", 50)
    vllm.content, vllm.stalls_after = "thinking " * 9, 70
    with pytest.raises(ReportCut):
        draft()


def test_a_whole_report_counts_even_where_blanks_behind_it_are_cut(draft, vllm):
    vllm.content, vllm.finish = json.dumps(GOOD) + "\n" * 50, "length"
    assert len(draft().drafts) == 2


LATE = {
    "vLLM": ({"error": {"message": "Engine died", "type": "x", "code": 500}}, LlmUnavailable),
    "TGI": ({"error": "Engine died", "error_type": "generation"}, LlmUnavailable),
    "old vLLM": ({"object": "error", "message": "Engine died", "code": 500}, LlmUnavailable),
    "FastAPI": ({"detail": "Engine died"}, LlmUnavailable),
    "OpenRouter": (
        chunk({"content": ""}, "error", error={"code": 502, "message": "Engine died"}),
        LlmUnavailable,
    ),
    "refusal": ({"error": {"message": "Engine died", "code": 400}}, LlmRefused),
}


@pytest.mark.parametrize("parts", [[], PARTS[:2]], ids=["first", "after some text"])
@pytest.mark.parametrize("start", ["data: ", "event: error\ndata: "], ids=["plain", "named"])
@pytest.mark.parametrize(("body", "kind"), LATE.values(), ids=LATE)
def test_an_error_within_a_stream_is_told(model, vllm, parts, start, body, kind):
    vllm.raw = [events(*parts, done=""), events(body, start=start)]
    with pytest.raises(LlmUnavailable, match="Engine died") as told:
        list(model.write(TASK, Deadline(60)))
    assert type(told.value) is kind
    assert len(vllm.requests) == (1 if kind is LlmRefused else 2)


def test_an_error_in_an_answer_with_status_200_is_told(draft, vllm):
    vllm.answer = {"error": {"message": "System role not supported", "code": 400}}
    with pytest.raises(LlmRefused, match="System role"):
        draft()


def test_a_stream_that_begins_with_an_error_makes_room_for_the_next_server(vllm, other, open_model):
    vllm.raw = [events({"error": {"message": "Engine died", "code": 500}})]
    for _ in range(3):
        assert read(open_model(vllm.url, other.url).draft(PROMPT, Deadline(60))).drafts


def test_a_prompt_that_is_too_long_may_be_told_within_a_stream(model, vllm):
    vllm.raw = [events({"error": {"message": "the request exceeds the context size", "code": 400}})]
    with pytest.raises(ReportUngrounded, match="even the shortest prompt"):
        model.draft(NINE, Deadline(60))
    assert [len(shown(request)) for request in vllm.requests] == [9, 4, 2, 1]


def test_a_context_that_ends_within_a_stream_is_a_cut(model, vllm):
    error = {"error": {"message": "context size exceeded: exceeds the context", "code": 500}}
    vllm.raw = [events(PARTS[1], done=""), events(error)]
    with pytest.raises(ReportCut):
        list(model.write(TASK, Deadline(60)))
    assert len(vllm.requests) == 2


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"[" * 99_999 + b"\n\n",
        b"data: {\n\n",
        b"data: \xff\n\n",
        b'data: "x"\n\n',
        b"data: []\n\n",
        b"\x00",
        b"{}",
    ],
)
def test_a_stream_of_another_form_is_a_typed_error(draft, vllm, stream):
    vllm.raw = [stream]
    with pytest.raises(LlmUnavailable):
        draft()


def test_a_web_page_in_the_place_of_an_answer_is_named(draft, vllm):
    vllm.answer = b"<html><title>Sign in</title></html>"
    with pytest.raises(LlmUnavailable, match="Sign in"):
        draft()


def test_thoughts_are_not_among_the_steps_of_a_report(model, vllm):
    vllm.content = f"<think>Well: {json.dumps(GOOD)} no.</think>\n```json\n{TEXT}\n```"
    who, *drafts = model.write(TASK, Deadline(60))
    assert isinstance(who, WrittenBy)
    assert [draft.text for draft in drafts] == ["Small left “effusion”, naïve 咳.", "Effusion."]
