"""What servers say when they refuse, as their own messages and reports of users give it."""

import json
from dataclasses import replace

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.deadline import Deadline
from service.errors import LlmRefused, LlmUnavailable, ReportUngrounded
from service.reporting.llm.circuit_breaker import COOLDOWN_S, LONGEST_REST_S
from service.reporting.llm.upstream_error import MOST_CHARS, UpstreamError
from service.retry_after import MOST_RETRY_S
from tests.service.reporting.llm.example import NINE, PASSAGES, PROMPT, TASK, read
from tests.support.openai_server import shown

pytestmark = pytest.mark.slow


def message(text, **more):
    return {"error": {"message": text} | more}


TOO_LONG = {
    "OpenAI": (
        400,
        message(
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9001 tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
        ),
    ),
    "OpenAI's code alone": (400, message("Bad request", code="context_length_exceeded")),
    "OpenAI, input": (400, message("Input tokens exceed the configured limit of 272000 tokens.")),
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested "
            "5000 tokens (4232 in the messages, 768 in the completion). Please reduce the length "
            "of the messages or completion.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    ),
    "vLLM, input": (
        400,
        message(
            "You passed 4000 input tokens and requested 768 output tokens. However, the model's "
            "context length is only 4096 tokens, resulting in a maximum input length of 3328 "
            "tokens. Please reduce the length of the input prompt. (parameter=input_tokens)"
        ),
    ),
    "vLLM, decoder": (
        400,
        message(
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096. "
            "Make sure that `max_model_len` is no smaller than the number of text tokens."
        ),
    ),
    "vLLM, room left": (
        400,
        message(
            "'max_tokens' or 'max_completion_tokens' is too large: 768. This model's maximum "
            "context length is 4096 tokens and your request has 4000 input tokens "
            "(768 > 4096 - 4000)."
        ),
    ),
    "llama.cpp": (
        400,
        message(
            "the request exceeds the available context size, try increasing it",
            code=400,
            type="exceed_context_size_error",
            n_prompt_tokens=5000,
            n_ctx=4096,
        ),
    ),
    "llama-cpp-python": (500, message("Requested tokens (2500) exceed context window of 2048")),
    "TGI": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
            "Given: 5000 `inputs` tokens and 768 `max_new_tokens`",
            "error_type": "validation",
        },
    ),
    "TGI, inputs": (
        422,
        {"error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000"},
    ),
    "Ollama": (400, {"error": "the input length exceeds the context length"}),
    "LiteLLM": (
        400,
        message(
            "litellm.ContextWindowExceededError: litellm.BadRequestError: VertexAI", code="400"
        ),
    ),
    "SGLang": (
        400,
        {
            "object": "error",
            "message": "The input (5000 tokens) is longer than the model's context length (4096 "
            "tokens).",
        },
    ),
    "SGLang, sum": (
        400,
        {
            "message": "Requested token count exceeds the model's maximum context length of 4096 "
            "tokens. You requested a total of 5000 tokens."
        },
    ),
    "LM Studio": (
        400,
        {
            "error": "Trying to keep the first 5000 tokens when context the overflows. However, "
            "the model is loaded with context length of only 4096 tokens."
        },
    ),
    "Mistral": (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with "
            "32768 maximum context length",
        },
    ),
    "TensorRT-LLM": (
        400,
        message(
            "The sum of prompt length (5000.0), query length (0) and max_tokens (768) should not "
            "exceed max_num_tokens (4096)"
        ),
    ),
    "Anthropic": (400, message("prompt is too long: 215000 tokens > 200000 maximum")),
    "Gemini": (
        400,
        [message("The input token count (5000) exceeds the maximum number of tokens allowed.")],
    ),
    "Groq": (
        413,
        message("Request too large for model: Limit 6000, Requested 9000", type="tokens"),
    ),
    "xAI": (
        400,
        {
            "code": "invalid",
            "error": "This model's maximum prompt length is 131072 but the request contains 140000 "
            "tokens.",
        },
    ),
    "Bedrock": (400, {"detail": "Input is too long for requested model."}),
    "TabbyAPI": (400, {"detail": "Prompt length 5000 is greater than max_seq_len 4096"}),
    "OpenRouter": (
        400,
        message(
            "Provider returned error",
            metadata={"raw": '{"message":"maximum context length is 4096"}'},
        ),
    ),
    "llama.cpp, batch": (
        500,
        message("input is too large to process. increase the physical batch size", code=500),
    ),
    "old llama.cpp": (400, {"content": "Input prompt is too big compared to KV size."}),
    "GPT4All": (400, message("The prompt size exceeds the context window size.")),
    "n_ctx": (400, message("Prompt exceeds n_ctx: 3000 > 2048")),
    "DashScope": (400, message("Range of input length should be [1, 30720]", code="invalid")),
    "nginx": (413, b"<html><head><title>413 Request Entity Too Large</title></head></html>"),
}

REFUSED = {
    "system role": (400, message("System role not supported", code=400), "System role"),
    "roles": (400, message("Conversation roles must alternate user/assistant"), "must alternate"),
    "template": (
        400,
        {"object": "error", "message": "you must provide a chat template"},
        "chat template",
    ),
    "max_completion_tokens": (
        400,
        message("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        "max_completion_tokens",
    ),
    "json_schema": (400, message("response_format json_schema is not supported"), "json_schema"),
    "a keyword of the schema": (
        400,
        message("Invalid schema for response_format 'report': 'maxLength' is not permitted."),
        "maxLength",
    ),
    "guided json": (400, message("guided_json is not supported by this backend"), "guided_json"),
    "a parameter": (400, message("Unrecognized request argument supplied: seed"), "seed"),
    "answer too long": (
        400,
        message("max_tokens is too large: 100000. It supports at most 16384 completion tokens"),
        "16384",
    ),
    "answer longer than the model": (
        400,
        message("max_tokens=5000 cannot be greater than max_model_len=4096. Request fewer."),
        "max_model_len",
    ),
    "answer longer than the context": (
        400,
        message(
            "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens "
            "and your request has 17 input tokens (5000 > 4096 - 17)."
        ),
        "5000",
    ),
    "Groq's range": (
        400,
        message(
            "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` "
            "is less than the `context_window` for this model"
        ),
        "8192",
    ),
    "DeepSeek's range": (
        400,
        message("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        "8192",
    ),
    "answer and context": (
        400,
        message("max_new_tokens (9000) exceeds the context window (4096)"),
        "9000",
    ),
    "no chat": (400, message("The model does not support Chat Completions API"), "Completions"),
    "filter": (
        400,
        message(
            "The response was filtered by the content management policy", code="content_filter"
        ),
        "content management policy",
    ),
    "FastAPI": (
        422,
        {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs", "input": "Cough"}]},
        "body.seed: Extra inputs",
    ),
    "TGI": (422, {"error": "Template error: unknown test", "error_type": "template"}, "unknown"),
    "Ollama": (404, {"error": "model 'x' not found, try pulling it first"}, "pulling"),
    "path": (404, {"detail": "Not Found"}, "Not Found.*ECLIP_LLM_URL"),
    "page": (
        403,
        b"<!DOCTYPE html><title>Access  denied</title>",
        "HTML page.*Access denied.*proxy",
    ),
    "text": (400, b"upstream says no", "upstream says no"),
    "key": (401, message("Incorrect API key provided"), "Incorrect.*ECLIP_LLM_API_KEY"),
    "rights": (403, message("No access"), "No access.*ECLIP_LLM_API_KEY"),
    "money": (402, message("Insufficient credits"), "credits"),
    "method": (405, b"", "ECLIP_LLM_URL"),
    "empty": (400, {}, "json_schema"),
    "nothing": (400, {"error": None}, "json_schema"),
    "deep": (400, {"error": {"message": {"why": "Tools are off"}}}, "why: Tools are off"),
    "AWS": (400, {"Message": "Tools are off"}, "Tools are off"),
    "deeper": (400, b'{"error":' * 700 + b"1" + b"}" * 700, "json_schema"),
    "deep without words": (400, b'{"x":' * 900 + b"1" + b"}" * 900, "json_schema"),
    "bottomless": (400, b'{"error":' * 9999, "json_schema"),
    "RFC 9457": (400, {"title": "Bad", "detail": "Tools are off"}, "Tools are off"),
    "redirect": (307, b"", "redirects"),
}


@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG)
def test_a_prompt_that_is_too_long_is_shortened(model, vllm, status, body):
    vllm.most_passages, vllm.too_long = 4, (status, body)
    assert read(model.draft(NINE, Deadline(60))).drafts
    assert [len(shown(request)) for request in vllm.requests] == [9, 4]


@pytest.mark.parametrize(("status", "body", "said"), REFUSED.values(), ids=REFUSED)
def test_any_other_refusal_is_raised_at_once_with_the_servers_words(
    model, vllm, status, body, said
):
    vllm.status, vllm.answer = status, body
    for number in (1, 2, 3):  # and the server never cools down
        with pytest.raises(LlmRefused, match=f"(?s){status}.*{said}") as refused:
            list(model.write(TASK, Deadline(60)))
        assert len(vllm.requests) == number
    assert refused.value.retry_after_s is None


def test_a_redirect_is_not_followed(model, vllm):
    """It could lead the prompt to another machine."""
    vllm.status, vllm.answer, vllm.headers = 308, b"", {"location": vllm.url + "/elsewhere"}
    with pytest.raises(LlmRefused, match=r"308.*Location: http.*/elsewhere"):
        model.draft(PROMPT, Deadline(60))
    assert vllm.paths == ["/v1/models", "/tokenize", "/v1/chat/completions"]


BUSY = {
    "loading": (503, message("Loading model", type="unavailable_error"), "Loading model"),
    "gateway": (502, b"<html><head><title>502 Bad Gateway</title>", "502 Bad Gateway"),
    "limit": (429, message("Rate limit reached"), "busy.*Rate limit reached"),
    "defect": (500, message("CUDA out of memory"), "CUDA out of memory"),
    "time": (408, b"", "408"),
}


@pytest.mark.parametrize(("status", "body", "said"), BUSY.values(), ids=BUSY)
def test_a_server_that_may_answer_later_is_asked_twice_and_quoted(draft, vllm, status, body, said):
    vllm.status, vllm.answer = status, body
    with pytest.raises(LlmUnavailable, match=said) as failed:
        draft()
    assert not isinstance(failed.value, LlmRefused)
    assert failed.value.retry_after_s == COOLDOWN_S
    assert len(vllm.requests) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_time_is_given_it(model, vllm, status):
    vllm.status, vllm.headers = status, {"retry-after": "30"}
    for _ in range(3):
        with pytest.raises(LlmUnavailable) as busy:
            model.draft(PROMPT, Deadline(60))
        assert 29 < busy.value.retry_after_s <= 30
    assert len(vllm.requests) == 1


def test_a_server_that_asks_for_a_day_is_asked_again_before(model, vllm):
    vllm.status, vllm.headers = 429, {"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}
    for _ in range(2):
        with pytest.raises(LlmUnavailable) as busy:
            model.draft(PROMPT, Deadline(60))
    assert busy.value.retry_after_s <= LONGEST_REST_S


@pytest.mark.parametrize(
    "given", ["soon", "-1", "nan", "inf", "0", "Wed, 21 Oct 2015 07:28:00 GMT"]
)
def test_a_time_to_wait_that_is_none_is_passed_over(draft, vllm, given):
    vllm.statuses, vllm.headers = [429], {"retry-after": given}
    assert draft().drafts
    assert len(vllm.requests) == 2


def test_where_one_server_refuses_the_next_is_asked(vllm, open_model, other):
    vllm.status, vllm.answer = 400, message("System role not supported")
    for _ in range(4):
        assert read(open_model(vllm.url, other.url).draft(PROMPT, Deadline(60))).drafts
    other.status = 503
    with pytest.raises(LlmUnavailable, match="503"):
        open_model(vllm.url, other.url).draft(PROMPT, Deadline(60))


PATIENT = "Doe-Jane, born 04.03.1961, naïve 咳嗽, smoker"
"""An indication."""
QUOTES = [
    "Invalid prompt: {}",
    "Cannot parse '{}'\nat line 1\r\n\x07",
    "Input should be a string [input_value={}, input_type=dict]",
]


def quoted(text):
    """The text as servers quote it: plain, as JSON in JSON, in Python's form, cut, in capitals."""
    twice = json.dumps(json.dumps(text))
    return [text, json.dumps(text), twice, repr([text]), text[:-3], text.upper()]


@pytest.mark.parametrize("quote", QUOTES)
@pytest.mark.parametrize("form", range(6))
def test_no_word_of_the_prompt_comes_back_in_an_error(model, vllm, quote, form, capsys):
    prompt = replace(PROMPT, task=replace(TASK, indication=PATIENT))
    text = "\n".join([PATIENT, "A nodule.", PASSAGES[0].text])
    vllm.status, vllm.answer = 400, message(quote.format(quoted(text)[form]))
    with pytest.raises(LlmRefused) as refused:
        model.draft(prompt, Deadline(60))
    told = refused.value.detail.lower() + capsys.readouterr().out.lower()
    for word in ("doe", "jane", "1961", "naïve", "na\\u", "咳嗽", "smok", "nodul", "effus", "left"):
        assert word not in told
    assert quote.split()[0] in refused.value.detail
    assert "\n" not in refused.value.detail


@pytest.mark.parametrize("listing", [True, False])
def test_the_key_of_the_server_comes_back_in_no_error(open_model, vllm, listing):
    """Servers quote a wrong key, and callers of this service may see their error."""
    refusal = message("Incorrect API key provided: sk-Ab12-XYZ (None).")
    if listing:
        vllm.listing, vllm.listing_status = refusal, 401
    else:
        vllm.status, vllm.answer = 401, refusal
    with pytest.raises(LlmRefused) as refused:
        open_model(vllm.url, key="sk-Ab12-XYZ").draft(PROMPT, Deadline(60))
    assert 'Incorrect API key provided: … (None)."' in refused.value.detail


HUGE = f"too large: {'9' * 5000} maximum context length is 4"
TEXTS = st.text(max_size=40) | st.sampled_from(
    ["error", "message", "detail", "loc", "msg", "code", HUGE]
)
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda bodies: st.lists(bodies, max_size=4) | st.dictionaries(TEXTS, bodies, max_size=4),
    max_leaves=12,
)
DATES = st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,2} [JM]a[nyr] [0-9]{2,6} [0-9:]{1,8} [+-][0-9]{1,30}", fullmatch=True
)


@given(BODIES, TEXTS, DATES | st.text("0123456789-+.eE ", max_size=40))
def test_any_error_is_read_and_its_message_is_bounded_and_on_one_line(body, sent, wait):
    request = httpx2.Request("POST", "http://vllm/v1")
    headers = {"retry-after": wait.strip()}
    response = httpx2.Response(503, headers=headers, request=request)
    error = UpstreamError.of(openai.APIStatusError("", response=response, body=body), sent)
    assert len(error.message) <= MOST_CHARS + 1
    assert error.message.isprintable()
    assert error.retry_after_s is None or 0 < error.retry_after_s <= MOST_RETRY_S


def test_a_server_to_which_even_one_passage_is_too_long_is_quoted_once(model, vllm):
    vllm.most_passages, vllm.too_long = 0, TOO_LONG["llama.cpp"]
    with pytest.raises(ReportUngrounded, match="exceeds the available context size"):
        list(model.write(replace(TASK, seed=1), Deadline(60)))
    assert [len(shown(request)) for request in vllm.requests] == [2, 1]
