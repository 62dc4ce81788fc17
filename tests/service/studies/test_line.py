import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import StudyInvalid
from service.studies.line import StudyLine, study_of_json, study_of_values

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from([*StudyLine.model_fields, "Study ID", "__index_level_0__", ""])


@settings(max_examples=50)
@given(st.binary() | st.text().map(str.encode) | ANYTHING.map(lambda v: json.dumps(v).encode()))
def test_any_line_is_a_study_or_a_reason(line):
    assert isinstance(study_of_json(line), StudyLine | StudyInvalid)


@settings(max_examples=50)
@given(st.dictionaries(FIELDS, ANYTHING))
def test_any_row_is_a_study_or_a_reason(row):
    assert isinstance(study_of_values(row), StudyLine | StudyInvalid)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('"s1"', "not a JSON object"),
        ("{'study_id': 's1'}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"study_id": ' + "9" * 5000 + "}", "not JSON"),
        ('{"study_id": "s1", "report": "a\nb"}', "not JSON"),
        ('{"study_id": "s1", "metadata": {"a": 1, "a": 2}}', "an object: a field comes twice"),
        ('{"study_id": "\\ud800"}', "study_id: An id must have"),
        ('{"study_id": "s1", "metadata": {"age": [61]}}', "metadata: Each value should be text"),
        ('{"study_id": "s1", "gaze": {"x": []}}', "gaze: Input should be a list"),
        ('{"study_id": "s1", "images": ["a.png", ""]}', "images.1: "),
        ('{"study_id": "s1", "caption": "x"}', "caption: A study has no such field. Leave it out"),
    ],
)
def test_a_bad_line_is_refused_in_words(line, reason):
    assert reason in study_of_json(line.encode()).detail


def test_a_reason_quotes_no_value_and_no_key_of_the_metadata():
    line = {"study_id": ["Jane Doe"], "patient_id": {"Doe": 1}, "report": 7.5, "metadata": "Doe"}
    for name, value in line.items():
        found = study_of_json(json.dumps({"study_id": "s1"} | {name: value}).encode())
        assert name in found.detail
        assert "Doe" not in found.detail
    for metadata in ('{"Doe": [1]}', '{"Doe": 1, "Doe": 2}'):
        found = study_of_json(f'{{"study_id": "s1", "metadata": {metadata}}}'.encode())
        assert "Doe" not in found.detail


def test_a_line_in_another_encoding_is_refused_and_not_guessed():
    line = json.dumps({"study_id": "s1", "report": "Größer."}, ensure_ascii=False)
    for encoding in ("latin-1", "utf-16"):
        assert "not UTF-8" in study_of_json(line.encode(encoding)).detail


@pytest.mark.parametrize(
    ("value", "findings"),
    [(None, None), ("", None), ([], ()), ("[]", ()), (";", ()), ("a;", ("a",)), (["a"], ("a",))],
)
def test_unlabelled_and_nothing_found_stay_apart(value, findings):
    assert study_of_values({"study_id": "s1", "findings": value}).findings == findings
