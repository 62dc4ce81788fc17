"""Renders a report for people and hospital systems: as text, as Markdown and as FHIR.

Each form holds the sentences with the numbers and the texts of their evidence. None holds an
identifier.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from service.reporting.regions import Region
from service.reporting.report import Report
from service.reporting.sentences import Sentence

DISCLAIMER = "Drafted by software for research; not a medical device, not read by a radiologist."
"""Last line of each form."""
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!&~])")


def plain_text(report: Report) -> str:
    """Returns the report as text, under FINDINGS, IMPRESSION, EVIDENCE and NOTE."""
    return "\n\n".join(f"{title.upper()}:\n{body}" for title, body in _parts(report, str)) + "\n"


def markdown(report: Report) -> str:
    """Returns the report as Markdown, under headings and in lists; escapes markup in sentences."""
    parts = _parts(report, lambda text: "- " + _MARKUP.sub(r"\\\1", text))
    return "\n\n".join(f"## {title}\n\n{body}" for title, body in parts) + "\n"


def json_text(report: Report) -> str:
    """Returns the report as JSON, without the vectors and the patients of its evidence."""
    fields = asdict(report)
    for sentence in (*fields["findings"], *fields["impression"], *fields["withheld"]):
        if sentence["region"] is None:
            del sentence["region"]
    for passage in fields["evidence"]:
        del passage["vector"], passage["patient_id"]
    return json.dumps(fields, ensure_ascii=False)


def fhir(report: Report) -> str:
    """Returns the report as a FHIR R4 DiagnosticReport in JSON: see `diagnostic_report`."""
    return json.dumps(diagnostic_report(report), ensure_ascii=False)


def diagnostic_report(report: Report) -> dict[str, Any]:
    """Returns the report as a FHIR R4 DiagnosticReport.

    It has no subject: the caller adds the patient. Each sentence is a contained Observation, whose
    notes are the texts of its evidence, and whose component says where its finding points. The
    narrative is the plain text. Without a report the status is `cancelled`, and only the narrative
    says why: readers take `conclusion` for the impression.
    """
    written = [*report.findings, *report.impression]
    observations = [
        _observation(f"s{number}", sentence, report)
        for number, sentence in enumerate(written, start=1)
    ]
    text = fhir_string(plain_text(report))
    data = base64.b64encode(text.encode()).decode()
    resource: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "text": {"status": "additional", "div": f"<div {_XHTML}><pre>{escape(text)}</pre></div>"},
        "status": "cancelled" if report.abstained else "preliminary",
        "category": [{"coding": [_RADIOLOGY]}],
        "code": {"coding": [_CHEST], "text": "Chest radiograph"},
        "presentedForm": [{"contentType": "text/plain; charset=utf-8", "data": data}],
    }
    if written:
        resource["contained"] = observations
        resource["result"] = [{"reference": f"#{item['id']}"} for item in observations]
    if report.impression:
        concluded = " ".join(item.text + _flag(item) for item in report.impression)
        resource["conclusion"] = fhir_string(concluded)
    return resource


def fhir_string(text: str) -> str:
    """Returns the text as FHIR's strings may hold it."""
    return _NO_STRING.sub(" ", text)


FORMATS: dict[str, Callable[[Report], str]] = {
    "text/plain": plain_text,
    "text/markdown": markdown,
    "application/fhir+json": fhir,
}
"""Media type → the function that renders it."""

_RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
_CHEST = {"system": "http://loinc.org", "code": "30745-4", "display": "XR Chest Views"}
_XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'
_NO_STRING = re.compile(r"[^\S \t\n\r]|[\x00-\x08\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that FHIR's strings or XML may not hold, such as a no-break space."""


def _parts(report: Report, render: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yields titles and bodies, each line of which went through `render`."""
    for title, sentences in (("Findings", report.findings), ("Impression", report.impression)):
        if sentences:
            yield title, "\n".join(render(f"{item.text} {basis(item)}") for item in sentences)
    if report.abstained:
        yield "No report", render(report.abstained)
    if passages := cited_passages(report, [*report.findings, *report.impression]):
        yield "Evidence", "\n".join(map(render, passages))
    yield "Note", "\n".join(map(render, _notes(report)))


def _notes(report: Report) -> Iterator[str]:
    """Yields warnings, who wrote the report, and why the language model did not if it should."""
    yield from report.warnings
    bundle = report.provenance.bundle_id[:12]
    yield f"Written by {report.generator.model} from evidence of bundle {bundle}."
    if report.generator.fallback:
        yield f"Instead of the language model: {report.generator.fallback}"
    if report.prior:
        yield "The language model also read the report of an earlier study of this patient."
    yield f"Audit record {report.provenance.record}."
    yield DISCLAIMER


def cited_passages(report: Report, sentences: Sequence[Sentence]) -> list[str]:
    """Returns the passages that the sentences cite or that deny them, with their numbers."""
    numbers = {number for item in sentences for number in (*item.evidence, *item.against)}
    return [f"[{item.number}] {item.text}" for item in report.evidence if item.number in numbers]


def basis(sentence: Sentence) -> str:
    """Returns the numbers of a sentence's passages, and its flags: "[1] (denied by [3])".

    Without a flag of its region, it says where that is: "[1] (map: left lower zone)". A zone is
    said only where the lung fields were found.
    """
    numbers = f"[{', '.join(map(str, sentence.evidence))}]"
    region = sentence.region
    if region is None or region.agrees == "disagrees" or (zone := _zone(region)) is None:
        return numbers + _flag(sentence)
    return f"{numbers}{_flag(sentence)} (map: {zone} zone)"


def where(region: Region) -> str:
    """Returns where a finding points: "left lower zone; box at 0.55, 0.58 of 0.30 × 0.25 …".

    The numbers are the box's left and upper edge, its width and its height, in fractions of the
    image's.
    """
    box = region.box
    outside = "outside the lung fields" if region.lungs_found else "lung fields not found"
    zone = outside if _zone(region) is None else f"{region.zone} zone"
    side = {"disagrees": " (not the side that the sentence names)"}.get(region.agrees or "", "")
    return (
        f"{zone}{side}; box at {box.left:.2f}, {box.top:.2f} of {box.width:.2f} × "
        f"{box.height:.2f} of image {region.view + 1}"
    )


def _zone(region: Region) -> str | None:
    return region.zone if region.lungs_found else None


def _flag(sentence: Sentence) -> str:
    """Returns what a reader must know before believing the sentence: " (denied by [3])"."""
    marks: list[str] = [] if sentence.status == "supported" else [sentence.status]
    if sentence.against:
        marks.append(f"denied by [{', '.join(map(str, sentence.against))}]")
    if sentence.zero_shot == "disagrees":
        marks.append("the classifier disagrees")
    if sentence.region is not None and sentence.region.agrees == "disagrees":
        marks.append(f"the map of {sentence.region.finding} lies on the other side")
    return f" ({'; '.join(marks)})" if marks else ""


def _observation(name: str, sentence: Sentence, report: Report) -> dict[str, Any]:
    flagged = [flag.strip()] if (flag := _flag(sentence)) else []
    resource: dict[str, Any] = {
        "resourceType": "Observation",
        "id": name,
        "status": "preliminary",
        "code": {"text": "Sentence of a chest radiograph's report"},
        "valueString": fhir_string(sentence.text),
        "note": [
            {"text": fhir_string(text)} for text in [*cited_passages(report, [sentence]), *flagged]
        ],
    }
    if sentence.region is not None:
        name = f"Where the map of {sentence.region.finding} points"
        value = fhir_string(where(sentence.region))
        resource["component"] = [{"code": {"text": fhir_string(name)}, "valueString": value}]
    return resource
