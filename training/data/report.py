"""Reduces a report to the part that a radiograph can answer for."""

from service.bundle.report_text import BOTH, Kind, Section, sections


def description(text: str) -> str:
    """Returns the findings and the impression of a report on one line; empty if it has neither.

    `service.bundle.report_text.sections` says which text that is. Each kind has its heading:
    `FINDINGS AND IMPRESSION: … FINDINGS: … IMPRESSION: …`. A report without headings stays without.
    """
    parts = sections(text)
    both, findings, impression = (_of(parts, kind) for kind in ("both", "findings", "impression"))
    headed = findings or impression or any(part.name == BOTH for part in parts)
    if not headed:
        return both
    return _headed(
        {"FINDINGS AND IMPRESSION": both, "FINDINGS": findings, "IMPRESSION": impression}
    )


def titled(findings: str, impression: str) -> str:
    """Returns `FINDINGS: … IMPRESSION: …` on one line, without the section that is blank."""
    return _headed({"FINDINGS": findings, "IMPRESSION": impression})


def _of(parts: list[Section], kind: Kind) -> str:
    return " ".join(" ".join(part.body.split()) for part in parts if part.kind == kind).strip()


def _headed(texts: dict[str, str]) -> str:
    return " ".join(
        f"{name}: {' '.join(text.split())}" for name, text in texts.items() if text.strip()
    )
