"""Every example of docs/negation.md is read as the page says."""

import re

import pytest

from service.reporting.statements import Statement, compare
from tests.support.paths import ROOT

ROW = re.compile(r"^\| ([^|]+\.) \| ([^|]+) \| ([a-z ]+) \|$", re.MULTILINE)
PAGE = (ROOT / "docs/negation.md").read_text()
ROWS = ROW.findall(PAGE)
WORDS = re.findall(r"^\| ([^|]+\.) \| ([^|]+\.) \| (yes|no) \| [^|]+ \|$", PAGE, re.MULTILINE)
VERDICTS = {
    "affirmed": ("supported", "unsupported", "contradicted"),
    "possible": ("unsupported", "supported", "contradicted"),
    "denied": ("contradicted", "contradicted", "supported"),
    "denied in part": ("unsupported", "unsupported", "unsupported"),
    "unclear": ("unsupported", "unsupported", "unsupported"),
}
"""What the sentence makes of the finding, of a possible one, and of its denial."""


def test_the_page_has_an_example_of_each_reading():
    assert {reading for _, _, reading in ROWS} == VERDICTS.keys()
    assert len(ROWS) > 100


@pytest.mark.parametrize(("sentence", "finding", "reading"), ROWS)
def test_an_example_is_read_as_the_page_says(sentence, finding, reading):
    statements = (f"There is {finding}.", f"Possible {finding}.", f"No {finding}.")
    passage = Statement.of(sentence)
    verdicts = tuple(compare(Statement.of(said), passage, 0.97)[0] for said in statements)
    assert verdicts == VERDICTS[reading]


@pytest.mark.parametrize(("passage", "sentence", "answer"), WORDS)
def test_a_sentence_is_supported_where_the_page_says_so(passage, sentence, answer):
    status, _ = compare(Statement.of(sentence), Statement.of(passage), 0.97)
    assert (status == "supported") == (answer == "yes")
    assert len(WORDS) > 20
