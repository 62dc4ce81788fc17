"""Cuts a report into passages: its sentences, each with the section it stands in."""

from service.bundle.report_sentences import sentences
from service.bundle.report_text import sections
from service.cases.schema import Passage


def split_report(report: str, study_id: str) -> tuple[Passage, ...]:
    """Returns the report's sentences in reading order; ids are `study_id/section/ordinal`."""
    parts = [(part.name, text) for part in sections(report) for text in sentences(part.body)]
    return tuple(
        Passage(id=f"{study_id}/{section}/{ordinal}", section=section, text=text)
        for ordinal, (section, text) in enumerate(parts)
    )
