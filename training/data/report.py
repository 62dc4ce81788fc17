"""Reduces a report to the part that a radiograph can answer for."""

from service.bundle.report_text import described

_HEADINGS = {"both": "FINDINGS AND IMPRESSION", "findings": "FINDINGS", "impression": "IMPRESSION"}


def description(text: str) -> str:
    """Returns the sentences of a report that describe the image, on one line; empty if none does.

    Each kind has its heading: `FINDINGS AND IMPRESSION: … FINDINGS: … IMPRESSION: …`. A sentence
    without a full stop gets one, so that it stays a sentence. Text that has neither findings nor an
    impression under their headings stays without a heading.
    """
    found = described(text)
    texts = {
        kind: " ".join(_ended(sentence) for of, sentence in found if of == kind)
        for kind in _HEADINGS
    }
    if texts["both"] and not texts["findings"] and not texts["impression"]:
        return texts["both"]
    return _headed({_HEADINGS[kind]: said for kind, said in texts.items()})


def titled(findings: str, impression: str) -> str:
    """Returns `FINDINGS: … IMPRESSION: …` on one line, without the section that is blank."""
    return _headed({"FINDINGS": findings, "IMPRESSION": impression})


def _ended(sentence: str) -> str:
    return sentence if sentence.rstrip("\"')]*_")[-1:] in ".!?" else f"{sentence}."


def _headed(texts: dict[str, str]) -> str:
    return " ".join(
        f"{name}: {' '.join(text.split())}" for name, text in texts.items() if text.strip()
    )
