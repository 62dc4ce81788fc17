"""Addresses, keys and proxies."""

import pytest

from service.deadline import Deadline
from service.errors import LlmUnavailable
from service.reporting.llm.client import base_url, openai_client
from tests.service.reporting.llm.example import PROMPT, read


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://vllm:8000", "http://vllm:8000/v1"),
        ("http://vllm:8000/", "http://vllm:8000/v1"),
        ("http://vllm:8000/v1", "http://vllm:8000/v1"),
        ("http://vllm:8000/v1/", "http://vllm:8000/v1"),
        ("http://vllm:8000//", "http://vllm:8000/v1"),
        ("http://vllm:8000/v1/chat/completions", "http://vllm:8000/v1"),
        ("https://router/api/v1", "https://router/api/v1"),
        ("https://host/openai/", "https://host/openai"),
        ("http://[::1]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_a_base_address_is_read_with_and_without_its_path(given, asked):
    assert str(base_url(given)) == asked


@pytest.mark.parametrize("end", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_same_addresses_are_asked(vllm, open_model, end):
    url = vllm.url.removesuffix("/v1") + end
    assert read(open_model(url).draft(PROMPT, Deadline(60))).drafts
    assert vllm.paths == ["/v1/models", "/tokenize", "/v1/chat/completions"]


def test_the_environment_of_another_program_names_no_organisation(monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "theirs")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "theirs")
    headers = openai_client("http://vllm:8000/v1", "key").default_headers
    assert not {"OpenAI-Organization", "OpenAI-Project"} & {
        name for name, value in headers.items() if isinstance(value, str)
    }


def test_a_web_page_is_not_taken_for_the_api(draft, vllm):
    vllm.listing = b"<!DOCTYPE html><title>Open WebUI</title>"
    with pytest.raises(
        LlmUnavailable, match=r"not speak the OpenAI API.*Open WebUI.*ECLIP_LLM_URL"
    ):
        draft()
