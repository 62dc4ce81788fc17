"""What the server is asked."""

import json

import pytest

from service.deadline import Deadline
from service.reporting.prompt import ANSWER_SCHEMA, SYSTEM
from tests.service.reporting.llm.example import INJECTION, PASSAGES, PROMPT, TASK, read


def test_the_request_is_reproducible_and_asks_for_the_schema(draft, vllm):
    draft()
    (request,) = vllm.requests
    assert (request["seed"], request["temperature"], request["model"]) == (7, 0, "tiny")
    assert request["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA


def test_retrieved_text_enters_as_data_and_not_as_instruction(draft, vllm):
    draft()
    system, user = vllm.requests[0]["messages"]
    assert system == {"role": "system", "content": SYSTEM}
    data = json.loads(user["content"])
    assert data["passages"][1] == {"number": 2, "section": "findings", "text": INJECTION}
    assert data["classifier"] == {"left effusion": 0.91}


def test_what_a_prior_study_says_is_not_a_passage_that_could_be_cited(draft, vllm):
    draft()
    data = json.loads(vllm.requests[0]["messages"][1]["content"])
    assert data["prior"] == list(TASK.prior)
    assert [item["text"] for item in data["passages"]] == [item.text for item in PASSAGES]


def test_a_longer_draft_may_take_twice_the_tokens(model, vllm):
    for longer in (False, True):
        read(model.draft(PROMPT, Deadline(60), longer=longer))
    assert [request["max_tokens"] for request in vllm.requests] == [100, 200]


@pytest.mark.parametrize("key", ["secret", "secret\n"])
def test_tokens_are_counted_with_the_servers_key(vllm, open_model, key):
    """And without the line break that ends a file of secrets."""
    keys = []
    vllm.count = lambda handler: keys.append(handler.headers["authorization"])
    open_model(vllm.url, key=key).draft(PROMPT, Deadline(60))
    assert keys == ["Bearer secret"]
