"""Servers that offer several models."""

import json

import pytest

from service.deadline import Deadline
from service.errors import LlmRefused, LlmUnavailable
from service.reporting.llm.names import MOST_NAMES, chosen
from tests.service.reporting.llm.example import PROMPT, read

BOTH = [{"id": "an-embedding-model"}, {"id": "a-chat-model"}]
OFFERED = [
    (["m"], None, "m"),
    (["m"], "m", "m"),
    (["base", "adapter"], "adapter", "adapter"),  # a LoRA adapter of vLLM
    (["nomic", "llama3:latest"], "llama3", "llama3:latest"),  # Ollama
    (["gpt", "openai/*"], "openai/gpt-4o", "openai/gpt-4o"),  # LiteLLM
    (["Qwen/Qwen2.5-0.5B-Instruct", "x"], "Qwen/Qwen2.5-0.5B-Instruct", None),
]


def listing(*names):
    """An answer of `/v1/models`."""
    return json.dumps({"object": "list", "data": [{"id": name} for name in names]})


@pytest.mark.parametrize(("names", "wanted", "asked"), OFFERED)
def test_the_wanted_model_is_asked_or_the_only_one(names, wanted, asked):
    assert chosen(listing(*names), wanted) == (asked or wanted)


@pytest.mark.parametrize("wanted", ["M", "llama", "m:latest", "*", "openai", "m\n", " m"])
def test_a_model_that_is_not_offered_is_refused_with_those_that_are(wanted):
    with pytest.raises(LlmRefused, match=r"ECLIP_LLM_MODEL.*offers: m, llama3:8b, openai/\*\."):
        chosen(listing("m", "llama3:8b", "openai/*"), wanted)


def test_of_many_long_names_a_few_are_listed():
    with pytest.raises(LlmRefused, match=r"offers 500 models.*and 490 more") as refused:
        chosen(listing(*(f"{number}\n{'m' * 999}" for number in range(500))), None)
    assert len(refused.value.detail) < 100 * (MOST_NAMES + 2)
    assert refused.value.detail.isprintable()


def test_of_several_models_the_wanted_one_is_asked_and_named(vllm, open_model):
    vllm.models = BOTH
    started = open_model(vllm.url, wanted="a-chat-model").draft(PROMPT, Deadline(60))
    assert read(started).model == "a-chat-model"
    assert vllm.requests[0]["model"] == "a-chat-model"


def test_of_several_models_none_is_asked_without_a_wish(draft, vllm):
    vllm.models = BOTH
    with pytest.raises(
        LlmRefused, match="ECLIP_LLM_MODEL to one of them: an-embedding-model, a-chat-model"
    ):
        draft()
    assert vllm.paths == ["/v1/models"]


@pytest.mark.parametrize(
    "models",
    [
        [{"id": "tiny"}, {"id": "tiny"}],
        [{"id": name, "root": "/models/tiny", "parent": None} for name in ("tiny", "alias")],
    ],
)
def test_one_model_may_be_listed_twice_or_under_several_names(draft, vllm, models):
    """As `vllm serve --served-model-name tiny alias` lists it."""
    vllm.models = models
    assert draft().model == "tiny"


def test_an_adapter_is_another_model_than_its_base(draft, vllm):
    vllm.models = [
        {"id": "base", "root": "/models/base", "parent": None},
        {"id": "adapter", "root": "/models/adapter", "parent": "base"},
    ]
    with pytest.raises(LlmRefused, match="offers 2 models"):
        draft()


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_server_that_lists_no_models_is_asked_for_the_wanted_one(vllm, open_model, status):
    vllm.listing, vllm.listing_status = b"", status
    assert read(open_model(vllm.url, wanted="mine").draft(PROMPT, Deadline(60))).model == "mine"
    with pytest.raises(LlmUnavailable, match=str(status)):
        open_model(vllm.url).draft(PROMPT, Deadline(60))


@pytest.mark.parametrize("empty", [{"object": "list", "data": None}, {"data": []}])
def test_a_server_without_a_model_is_refused(draft, vllm, empty):
    """As Ollama is before a model is pulled."""
    vllm.listing = empty
    with pytest.raises(LlmRefused, match="offers no model"):
        draft()
