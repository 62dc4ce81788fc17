"""Makes the studies that an eclip library stores. It serves the build of today and that before."""

from collections.abc import Iterator
from typing import Any

from service.cases.schema import CaseFilter, EmbeddedStudy, Image, Study
from tests.benchmarks.library.data import FINDINGS, SOURCES, VIEWS, Data, report, source

BUNDLE, KEY = "b" * 64, "k" * 16
WRITTEN = 500
"""Studies in one write."""
LOADED = 16
"""Studies in one write while others are searched: those of one batch of `eclip index`."""
FILTERS = {
    "all": CaseFilter(),
    "a finding": CaseFilter(findings=FINDINGS[:1]),
    "a view": CaseFilter(view=VIEWS[:1]),
    "a source": CaseFilter(source=SOURCES[1:]),
}


def studies(data: Data, first: int, last: int) -> Iterator[EmbeddedStudy]:
    """Yields the studies with these numbers."""
    facts = data.facts
    vectors = (data.vectors(kind, first, last) for kind in ("image", "report"))
    for number, image, text in zip(range(first, last), *vectors, strict=True):
        yield EmbeddedStudy(
            Study(
                study_id=study_id(number),
                patient_id=patient_id(facts["patient"][number]),
                source=source(facts, number),
                digest=f"{number:064x}",
                report=report(facts, number),
                images=(Image(f"{number:064x}", VIEWS[facts["view"][number]]),),
                findings=(FINDINGS[facts["finding"][number]],),
            ),
            (image,),
            text,
            (),
        )


def study_id(number: int) -> Any:
    """Returns a reference: as long as a keyed hash, and of a type that the builds differ in."""
    return f"stu_{number:032x}"


def patient_id(number: int) -> Any:
    """Returns a reference: as long as a keyed hash, and of a type that the builds differ in."""
    return f"pat_{number:032x}"


def number_of(study: str) -> int:
    """Returns the number in a study's id."""
    return int(study.removeprefix("stu_"), 16)
