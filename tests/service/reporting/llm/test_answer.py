"""A report in JSON is read while it arrives, whatever a model wraps around it."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.reporting.llm.answer import read_drafts
from service.reporting.sentences import Draft

REPORT = {
    "findings": [{"sentence": "Small left effusion.", "evidence": [1]}],
    "impression": [{"sentence": "Effusion.", "evidence": [1, 2]}],
}
TEXT = json.dumps(REPORT)
DRAFTS = [
    Draft("findings", "Small left effusion.", (1,)),
    Draft("impression", "Effusion.", (1, 2)),
]
OTHER = json.dumps({part: [{"sentence": "A thought.", "evidence": [1]}] for part in REPORT})

THOUGHTS = [
    "<think>{}</think>",
    "<think>\n{}\n</think>\n\n",
    "<think>\n\n</think>\n\n",
    "<THINK >{}</THINK>",
    '<think mode="deep" budget=3>{}</think >',
    "<thinking>{}</thinking>\n",
    "<thought>{}</thought>",
    "<reasoning>{}</reasoning>",
    "<seed:think>{}</seed:think>",
    "[THINK]{}[/THINK]",
    "◁think▷{}◁/think▷",
    "<|START_THINKING|>{}<|END_THINKING|>",
    "<unused94>thought\n{}<unused95>",
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel|>commentary to=us<|message|>{}<|end|><|channel|>final <|constrain|>json<|message|>",
    "<|channel>thought\n{}<channel|>",
    "analysis{}assistantfinal",
    "<think>{}</think><think>again</think>",
    "<think>a <think>{}</think> b</think>",
    "{}</think>\n",
    "</think>\n\n",
    "",
]
PROSE = [
    "",
    "Here is the report: ",
    "Sure {as asked} [1]:\n",
    "JSON\n",
    "\ufeff",
    " \r\n\t",
    "[THINK",
]
FENCES = [("```json\n", "\n```"), ("```\n", "```"), ("~~~JSON\n", "\n~~~"), ("[", "]"), ("", "")]
WRAPPERS = [('{"report": ', "}"), ("<answer>", "</answer>"), ("", "")]
ENDS = ["", "\n", "\n\nLet me know if you need more.", "<|return|>", "\n{x}", "\n" + OTHER]
HOSTILE = [
    "```",
    "~~~json",
    "</think>",
    "<think>",
    '"}]}',
    "{",
    "}",
    "[/THINK]",
    "“smart” ‘quotes’",
]
"""What text from outside may hold within a sentence."""


def pieces_of(text, cuts):
    """The text, cut after each of these characters."""
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


def by_part(drafts):
    """The sentences of each part in order; which part comes first depends on the pieces."""
    return sorted(drafts, key=lambda draft: draft.part)


@st.composite
def reports(draw):
    words = st.lists(st.sampled_from([*HOSTILE, "Effusion", "é", "\n", "\\"]), min_size=1)
    sentence = st.fixed_dictionaries(
        {
            "sentence": words.map(lambda parts: f"No {' '.join(parts)}."),
            "evidence": st.lists(st.integers(1, 9), max_size=2),
        }
    )
    sentences = st.lists(sentence, max_size=3)
    return draw(st.fixed_dictionaries({"findings": sentences, "impression": sentences}))


@given(
    report=reports(),
    thoughts=st.sampled_from(THOUGHTS),
    thought=st.sampled_from(["It says so.", "{", "```json\n{}\n```", OTHER, OTHER + " Or not?"]),
    prose=st.sampled_from(PROSE),
    fence=st.sampled_from(FENCES),
    wrapper=st.sampled_from(WRAPPERS),
    end=st.sampled_from(ENDS),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    cuts=st.lists(st.integers(0, 5000)),
)
def test_a_report_is_read_in_any_wrapping_and_any_pieces(
    report, thoughts, thought, prose, fence, wrapper, end, indent, ascii_only, cuts
):
    if thoughts.startswith("{}") and thought.startswith('{"findings'):
        thought = f"Well: {thought}"  # a text that begins with a report is one
    text = json.dumps(report, indent=indent, ensure_ascii=ascii_only)
    body = wrapper[0] + fence[0] + text + fence[1] + wrapper[1]
    whole = thoughts.replace("{}", thought) + prose + body + end
    assert by_part(read_drafts(pieces_of(whole, cuts))) == by_part(read_drafts([text]))


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


@pytest.mark.parametrize("lead", ["", "\ufeff", "```json\n", "<think>{x}</think>\n", "["])
def test_a_sentence_is_yielded_once_the_next_begins(lead):
    text = lead + json.dumps(
        {"findings": [{"sentence": f"{n}.", "evidence": [n]} for n in range(2)]}
    )
    second = text.rindex("{") + 1
    drafts = read_drafts([text[:second], text[second:]])
    assert next(drafts) == Draft("findings", "0.", (0,))


@pytest.mark.parametrize("thoughts", [text for text in THOUGHTS if "{}" in text])
def test_no_thought_is_yielded_while_the_model_thinks(thoughts):
    """Not even one that is a whole report, and whose beginning stood in the prompt."""
    before = thoughts.replace("{}", f"Well: {OTHER}")
    drafts = read_drafts([*(before + TEXT)])
    assert list(drafts) == DRAFTS


def test_thoughts_that_never_end_hold_no_report_but_the_last_thing_said():
    assert list(read_drafts([f"<think>Well: {TEXT}\n```"])) == DRAFTS
    for cut in (f"<think>Well: {OTHER} But", "<think>" + TEXT[:-1], "<think>"):
        with pytest.raises(ValueError, match="no report"):
            list(read_drafts([*cut]))


def test_a_blank_sentence_is_not_a_sentence():
    items = [{"sentence": text, "evidence": [1]} for text in ("", " \n ", "Effusion.")]
    answer = json.dumps({"findings": items, "impression": items[:2]})
    assert list(read_drafts([answer])) == [Draft("findings", "Effusion.", (1,))]


GARBAGE = [
    "",
    "not json",
    "{}",
    "null",
    "<think>It is normal.</think>",
    "```json\n```",
    '{"findings": "all well"}',
    '{"findings": []}',
    TEXT[:-1],
    TEXT.replace("]", ",]"),
    TEXT.replace('"', "'"),
    TEXT.replace('"', "“"),
    TEXT.replace("[1]", '["one"]'),
    TEXT.replace('"findings"', '"mood": 1, "findings"'),
    TEXT.replace("left", "left\n"),
    TEXT.replace("left", "\\ud800"),
    json.dumps(TEXT),
    TEXT[:-1] + TEXT,
    '{"a":' * 5000,
    "[" * 5000 + TEXT[:-1],
]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("content", GARBAGE, ids=range(len(GARBAGE)))
def test_a_text_that_is_not_a_report_is_an_error(content, size):
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    with pytest.raises(ValueError, match="no report"):
        list(read_drafts(pieces))
