import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

from service.cases.records import NewStudy
from service.cases.sources import open_source
from service.errors import RequestMalformed
from service.identifiers import LONGEST, RULE, Identifier, canonical

ACCEPTED = [
    "1.2.840.113619.2.5", "2024/03/17-A", "CR/2023/001", "a/b/c", "MRN 12", "Ä", "100%", "%2F",
    "a?b", "a#b", "+plus+", "A;B=1", "a\\b", "'\"<>", "ward:1.png", "...", "a..b", "image",
    "山田", "x" * LONGEST,
]  # fmt: skip
REFUSED = [
    "", " ", "\t", ".", "..", "a/../b", "./a", "a/.", "/a", "a/", "a//b", "/", "x/image",
    "a\nb", "a\0b", "a\x7fb", "\x1b$B", "\u00a0nbsp", "zero\u200bwidth", "soft\u00adhyphen",
    "\u202eright to left", "\ufeffbom", "\u2028", "\u3000", "caf\ufffd", "\ud800", "x" * 257,
    "filler\u3164", "a\u2800b", "variant\ufe0f", "\U000e0101", "a\u034fb",
]  # fmt: skip


class Padded(BaseModel):
    """As a study's record is: it removes all Unicode blanks of its texts."""

    model_config = ConfigDict(str_strip_whitespace=True)

    patient_id: Identifier


@pytest.mark.parametrize("value", ACCEPTED)
def test_an_id_of_printable_characters_is_accepted(value):
    assert canonical(value) == Padded(patient_id=value).patient_id == value


@pytest.mark.parametrize("value", REFUSED)
def test_an_id_that_a_url_cannot_carry_or_a_reader_cannot_see_is_refused_with_the_rule(value):
    with pytest.raises(RequestMalformed) as refused:
        canonical(value)
    assert refused.value.detail == f"{RULE}."
    with pytest.raises(ValidationError) as invalid:
        Padded(patient_id=value)
    assert invalid.value.errors()[0]["msg"] == RULE


@pytest.mark.parametrize("field", ["study_id", "patient_id"])
def test_a_manifest_is_held_to_the_same_rule(tmp_path, field):
    refused = [name for name in REFUSED if name.strip() and name != "\ud800"]  # blank: no value
    ids = [*ACCEPTED, *refused]
    lines = [
        {"study_id": f"s{at}", "report": "Effusion."} | {field: name} for at, name in enumerate(ids)
    ]
    path = tmp_path / "studies.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    results = [entry.study for entry in open_source(path).entries]
    assert all(isinstance(study, NewStudy) for study in results[: len(ACCEPTED)])
    assert all(RULE in error.detail for error in results[len(ACCEPTED) :])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("MRN1", " MRN1\0", True),
        ("MRN1", "MRN1\r\n", True),
        ("é", unicodedata.normalize("NFD", "é"), True),
        ("MRN1", "mrn1", False),
        ("①", "1", False),
        ("a b", "a  b", False),
    ],
)
def test_padding_and_unicode_form_do_not_count_and_all_else_does(one, other, same):
    assert (canonical(one) == canonical(other)) is same


@given(st.text())
def test_a_canonical_id_is_its_own_canonical_form(value):
    try:
        once = canonical(value)
    except RequestMalformed:
        return
    assert canonical(once) == once
