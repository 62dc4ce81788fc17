"""The choice of a media type by RFC 9110, 12.5.1."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.accept import negotiate
from service.errors import NotAcceptable

JSON, TEXT, MARKDOWN, FHIR = OFFERED = (
    "application/json",
    "text/plain",
    "text/markdown",
    "application/fhir+json",
)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        (" , ,", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/*", TEXT),
        ("application/fhir+json", FHIR),
        ("APPLICATION/FHIR+JSON;Q=1", FHIR),
        # the weight decides, not the order
        ("application/json;q=0.9, application/fhir+json", FHIR),
        ("application/fhir+json;q=0.5, application/json", JSON),
        ("text/markdown;q=0.001, text/plain;q=0.002", TEXT),
        ("*/*;q=0.1, text/plain", TEXT),
        ("text/html, text/markdown;q=0.9, */*", JSON),
        ("text/html, text/markdown;q=0.9, */*;q=0.8", MARKDOWN),
        ("application/fhir+xml;q=1.0, application/fhir+json;q=1.0", FHIR),
        # the most exact range that has a type gives its weight
        ("application/json;q=0, */*", TEXT),
        ("text/*;q=0.3, text/plain;q=0.1, application/json;q=0.2", MARKDOWN),
        ("text/plain, */*", TEXT),
        ("text/plain, text/*;q=0.1", TEXT),
        # among equals, the first that is named
        ("text/plain, application/json", TEXT),
        ("application/json, text/plain, */*", JSON),
        # parameters
        ("application/fhir+json; fhirVersion=4.0", FHIR),
        ('application/fhir+json; fhirVersion="4.0"; q=0.9, text/plain;q=0.8', FHIR),
        ("application/fhir+json; fhirVersion=4.0.1, text/plain", FHIR),
        ("application/json; charset=utf-8", JSON),
        ("text/plain; charset=utf8", TEXT),
        ("text/plain; charset=iso-8859-1, application/json;q=0.9", TEXT),
        ("text/markdown; variant=CommonMark", MARKDOWN),
        ('application/json; profile="a, text/plain; q=1", text/plain; q=0.5', JSON),
        # what real clients send
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
        # what cannot be read does not count
        ("nonsense", JSON),
        ("text/plain;q=high, text/markdown;q=0.1", MARKDOWN),
        ("text/plain;q=2, text/markdown;q=0.1", MARKDOWN),
        ("text/plain;q=nan", JSON),
        ("a/b/c, text/plain", TEXT),
    ],
)
def test_the_client_gets_what_it_prefers(accept, chosen):
    assert negotiate(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept",
    [
        "application/fhir+xml",
        "application/pdf, image/*",
        "*/*;q=0",
        "application/json;q=0, text/*;q=0.0",
        "application/fhir+json; fhirVersion=5.0",
    ],
)
def test_what_is_not_offered_is_refused_with_what_is(accept):
    with pytest.raises(NotAcceptable) as refused:
        negotiate(accept, OFFERED)
    assert all(kind in refused.value.detail for kind in OFFERED)


@given(st.text(st.sampled_from('*/;,=q01. "\\atexplin\x00\u00e9'), max_size=30))
def test_no_header_is_an_error_of_another_kind(accept):
    with suppress(NotAcceptable):
        assert negotiate(accept, OFFERED) in OFFERED
