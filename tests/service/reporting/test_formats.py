"""One report in every form: no kept sentence is lost, and none can become markup."""

import base64
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from service.reporting.formats import DISCLAIMER, FORMATS, fhir, json_text, markdown, plain_text
from service.reporting.report import Provenance, Report
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy
from tests.support.evidence import passage

HOSTILE = "Effusion <script>alert(1)</script> [x](http://y) *bold*.\n"


def report(findings=(), impression=(), abstained=None):
    evidence = tuple(
        passage(number, f"Passage {number}.", study_id="stu_secret") for number in range(1, 4)
    )
    return Report(
        tuple(Sentence(text, cited, 1.0, "supported") for text, cited in findings),
        tuple(Sentence(text, cited, 1.0, "supported") for text, cited in impression),
        (Sentence("Withheld.", (), 0.0, "unsupported"),),
        evidence,
        (),
        (),
        WrittenBy("extractive", "writer-1", 3, "It is down."),
        Provenance("b" * 64, None, 0, 8, "software", "2026-01-01-0"),
        abstained,
    )


WRITTEN = report([("Small effusion.", (1, 3))], [("Effusion.", (3,))])


def test_as_text_it_is_read_at_a_glance():
    assert plain_text(WRITTEN) == (
        "FINDINGS:\nSmall effusion. [1, 3]\n\nIMPRESSION:\nEffusion. [3]\n\n"
        "EVIDENCE:\n[1] Passage 1.\n[3] Passage 3.\n\n"
        f"NOTE:\nWritten by writer-1 from evidence of bundle bbbbbbbbbbbb.\n"
        f"Instead of the language model: It is down.\n"
        f"Audit record 2026-01-01-0.\n{DISCLAIMER}\n"
    )


def test_that_the_model_read_a_prior_study_is_told():
    told = "earlier study of this patient"
    assert told not in plain_text(WRITTEN)
    assert told in plain_text(replace(WRITTEN, prior=("A nodule.",)))


def test_as_json_it_has_every_field_and_no_vector():
    fields = json.loads(json_text(WRITTEN))
    assert fields["findings"][0]["text"] == "Small effusion."
    assert fields["generator"]["fallback"] == "It is down."
    assert fields["evidence"][0] == {
        "number": 1,
        "passage_id": "p1",
        "study_id": "stu_secret",
        "section": "findings",
        "text": "Passage 1.",
        "score": 0.5,
    }


def test_as_markdown_a_sentence_cannot_become_markup():
    shown = markdown(report([(HOSTILE, (1,))]))
    assert "## Findings\n\n- Effusion \\<script\\>" in shown
    assert "\\[x\\](http://y)" in shown
    assert "\\*bold\\*" in shown


@pytest.mark.parametrize("one", [WRITTEN, report(abstained="No case."), report([(HOSTILE, (2,))])])
def test_as_fhir_it_is_a_valid_diagnostic_report(one):
    resource = DiagnosticReport.model_validate_json(fhir(one))
    assert resource.status == ("cancelled" if one.abstained else "preliminary")
    named = [reference.reference.removeprefix("#") for reference in resource.result or []]
    assert named == [observation.id for observation in resource.contained or []]
    values = [observation.valueString for observation in resource.contained or []]
    assert values == [sentence.text for sentence in (*one.findings, *one.impression)]
    (form,) = json.loads(fhir(one))["presentedForm"]
    assert base64.b64decode(form["data"]).decode() == plain_text(one)


def test_as_fhir_each_sentence_brings_the_passages_it_cites():
    first, _ = json.loads(fhir(WRITTEN))["contained"]
    assert [note["text"] for note in first["note"]] == ["[1] Passage 1.", "[3] Passage 3."]
    assert json.loads(fhir(WRITTEN))["conclusion"] == "Effusion."


def test_as_fhir_a_withheld_report_has_no_conclusion_but_the_reason_in_its_narrative():
    resource = json.loads(fhir(report(abstained="No case < 0.5 & near.")))
    assert {"conclusion", "result", "contained"}.isdisjoint(resource)
    assert resource["status"] == "cancelled"
    narrative = ElementTree.fromstring(resource["text"]["div"])
    assert "No case < 0.5 & near." in "".join(narrative.itertext())


def test_as_fhir_the_conclusion_of_a_doubtful_sentence_says_so():
    doubtful = Sentence("Effusion.", (1,), 0.3, "unsupported")
    told = json.loads(fhir(replace(report(), impression=(doubtful,))))["conclusion"]
    assert told == "Effusion. (unsupported)"


def test_as_fhir_characters_that_xml_forbids_become_spaces():
    resource = json.loads(fhir(report([("Small\x0ceffusion.", (1,))], [("A\x00b.", (1,))])))
    assert resource["contained"][0]["valueString"] == "Small effusion."
    assert resource["conclusion"] == "A b."
    ElementTree.fromstring(resource["text"]["div"])


def test_as_fhir_the_examination_is_coded_and_the_text_names_its_encoding():
    resource = json.loads(fhir(WRITTEN))
    (coding,) = resource["code"]["coding"]
    assert (coding["system"], coding["code"]) == ("http://loinc.org", "30745-4")
    assert resource["presentedForm"][0]["contentType"] == "text/plain; charset=utf-8"
    assert "subject" not in resource


@pytest.mark.parametrize("write", FORMATS.values())
def test_no_form_holds_an_identifier_or_what_was_withheld(write):
    for secret in ("stu_secret", "Withheld."):
        assert secret not in write(WRITTEN)


@pytest.mark.parametrize("write", FORMATS.values())
def test_every_form_says_why_there_is_no_report(write):
    assert "No case in the library." in write(report(abstained="No case in the library."))


def test_what_speaks_against_a_sentence_is_told_beside_it_in_every_form():
    doubtful = Sentence("Effusion.", (1,), 0.3, "contradicted", (2,), "disagrees")
    one = replace(report(), findings=(doubtful,))
    flag = "(contradicted; denied by [2]; the classifier disagrees)"
    assert f"Effusion. [1] {flag}\n" in plain_text(one)
    assert "[2] Passage 2." in plain_text(one)
    assert "contradicted; denied by" in markdown(one)
    (observation,) = json.loads(fhir(one))["contained"]
    notes = [note["text"] for note in observation["note"]]
    assert notes == ["[1] Passage 1.", "[2] Passage 2.", flag]
