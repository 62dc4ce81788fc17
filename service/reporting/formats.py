"""A report in the forms that people and hospital systems read.

Each holds the sentences with the numbers of their evidence, that evidence, and no identifier.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from service.reporting.report import Report
from service.reporting.sentences import Sentence

DISCLAIMER = "Drafted by software for research; not a medical device, not read by a radiologist."
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!&~])")


def plain_text(report: Report) -> str:
    """Under FINDINGS, IMPRESSION and EVIDENCE."""
    return "\n\n".join(f"{title.upper()}:\n{body}" for title, body in _parts(report, str)) + "\n"


def markdown(report: Report) -> str:
    """Under headings, in lists; markup within a sentence is its words."""
    parts = _parts(report, lambda text: "- " + _MARKUP.sub(r"\\\1", text))
    return "\n\n".join(f"## {title}\n\n{body}" for title, body in parts) + "\n"


def fhir(report: Report) -> str:
    """A FHIR R4 DiagnosticReport, preliminary and without a subject, which the caller knows.

    Each sentence is an Observation within it; its note is the evidence.
    """
    written = [*report.findings, *report.impression]
    observations = [_observation(f"s{n}", one, report) for n, one in enumerate(written, start=1)]
    text = base64.b64encode(plain_text(report).encode()).decode()
    resource: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "category": [{"coding": [_RADIOLOGY]}],
        "code": {"text": "Chest radiograph"},
        "presentedForm": [{"contentType": "text/plain", "data": text}],
    }
    if written:
        resource["contained"] = observations
        resource["result"] = [{"reference": f"#{one['id']}"} for one in observations]
    conclusion = report.abstained or " ".join(one.text for one in report.impression)
    if conclusion:
        resource["conclusion"] = conclusion
    return json.dumps(resource, ensure_ascii=False)


FORMATS: dict[str, Callable[[Report], str]] = {
    "text/plain": plain_text,
    "text/markdown": markdown,
    "application/fhir+json": fhir,
}
"""Media type → how to write it."""

_RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}


def _parts(report: Report, shown: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Titles and bodies; `shown` is what becomes of each line."""
    for title, sentences in (("Findings", report.findings), ("Impression", report.impression)):
        if sentences:
            lines = [f"{one.text} {_numbers(one)}{_flag(one)}" for one in sentences]
            yield title, "\n".join(map(shown, lines))
    if report.abstained:
        yield "No report", shown(report.abstained)
    if cited := _cited(report, [*report.findings, *report.impression]):
        yield "Evidence", "\n".join(map(shown, cited))
    yield "Note", "\n".join(map(shown, _notes(report)))


def _notes(report: Report) -> Iterator[str]:
    """Who wrote it, by what, and why not the language model where it was to."""
    bundle = report.provenance.bundle_id[:12]
    yield f"Written by {report.generator.model} from evidence of bundle {bundle}."
    if report.generator.fallback:
        yield f"Instead of the language model: {report.generator.fallback}"
    if report.prior:
        yield "The language model also read the report of an earlier study of this patient."
    yield f"Audit record {report.provenance.record}."
    yield DISCLAIMER


def _cited(report: Report, sentences: Sequence[Sentence]) -> list[str]:
    numbers = {number for one in sentences for number in (*one.evidence, *one.against)}
    return [f"[{item.number}] {item.text}" for item in report.evidence if item.number in numbers]


def _numbers(sentence: Sentence) -> str:
    return f"[{', '.join(map(str, sentence.evidence))}]"


def _flag(sentence: Sentence) -> str:
    """What a reader must know before the sentence is believed."""
    marks: list[str] = [] if sentence.status == "supported" else [sentence.status]
    if sentence.against:
        marks.append(f"denied by [{', '.join(map(str, sentence.against))}]")
    if sentence.zero_shot == "disagrees":
        marks.append("the classifier disagrees")
    return f" ({'; '.join(marks)})" if marks else ""


def _observation(name: str, sentence: Sentence, report: Report) -> dict[str, Any]:
    flagged = [flag.strip()] if (flag := _flag(sentence)) else []
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "preliminary",
        "code": {"text": "Sentence of a chest radiograph's report"},
        "valueString": sentence.text,
        "note": [{"text": text} for text in [*_cited(report, [sentence]), *flagged]],
    }
