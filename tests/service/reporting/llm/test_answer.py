"""A report in JSON is read while it arrives."""

import json

import pytest

from service.reporting.llm.answer import read_drafts
from service.reporting.sentences import Draft


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("order", [("findings", "impression"), ("impression", "findings")])
def test_no_sentence_is_lost_whatever_the_order_and_the_pieces(order, size):
    report = {
        part: [{"sentence": f"{part} {n}.", "evidence": [n]} for n in range(3)] for part in order
    }
    text = json.dumps(report)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    texts = [draft.text for draft in read_drafts(pieces)]
    assert sorted(texts) == sorted(f"{part} {n}." for part in order for n in range(3))


def test_a_sentence_is_yielded_once_the_next_begins():
    text = json.dumps({"findings": [{"sentence": f"{n}.", "evidence": [n]} for n in range(2)]})
    second = text.rindex("{") + 1
    drafts = read_drafts([text[:second], text[second:]])
    assert next(drafts) == Draft("findings", "0.", (0,))


def test_a_blank_sentence_is_not_a_sentence():
    items = [{"sentence": text, "evidence": [1]} for text in ("", " \n ", "Effusion.")]
    answer = json.dumps({"findings": items, "impression": items[:2]})
    assert list(read_drafts([answer])) == [Draft("findings", "Effusion.", (1,))]


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"findings": "all well"}', "null"])
def test_a_text_that_is_not_a_report_is_an_error(content):
    with pytest.raises(ValueError, match="validation error"):
        list(read_drafts([content]))
