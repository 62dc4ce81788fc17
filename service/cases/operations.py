"""Names what a case store asks of its engine: selections of points, and changes to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.cases.points import RECORD, Point
from service.cases.schema import NOBODY, CaseFilter, Exclusion
from service.imaging.deidentify import StudyRef


@dataclass(frozen=True, slots=True)
class Selection:
    """Points that have, for every key, one of the values of `must` and none of `must_not`.

    Points whose ids are in `spared` are not selected; with `ids`, only these are.
    """

    must: Mapping[str, Sequence[str]] = field(default_factory=dict)
    must_not: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spared: Sequence[str] = ()
    ids: Sequence[str] | None = None

    def of_part(self, part: str) -> "Selection":
        """Returns the selected points of one kind."""
        return replace(self, must={**self.must, "part": [part]})

    def without_studies(self, references: Iterable[StudyRef]) -> "Selection":
        """Returns the selection without the points of these studies."""
        refused = [*self.must_not.get("study_id", ()), *references]
        return replace(self, must_not={**self.must_not, "study_id": refused}) if refused else self


ALL_POINTS = Selection()


@dataclass(frozen=True, slots=True)
class BlankDigest:
    """Blanks the digest of the selected records, because their studies are being replaced."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class Remove:
    """Removes the selected points."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class Upsert:
    """Writes points, records last."""

    points: Sequence[Point]


Operation = BlankDigest | Remove | Upsert


def records_of(references: Sequence[StudyRef]) -> Selection:
    """Returns the selection of these studies' records."""
    return Selection(must={"part": [RECORD], "study_id": references})


def admitted(where: CaseFilter, exclude: Exclusion = NOBODY) -> Selection:
    """Returns the selection of the points that a search may return."""
    must = {
        "source": where.source,
        "views": where.view,
        "findings": where.findings,
        "section": where.section,
    }
    must_not = {
        "patient_id": exclude.patient_ids,
        "study_id": (exclude.study_id,) if exclude.study_id else (),
    }
    return Selection(
        must={key: values for key, values in must.items() if values},
        must_not={key: values for key, values in must_not.items() if values},
    )


def replacement(references: Sequence[StudyRef], points: Sequence[Point]) -> list[Operation]:
    """Returns the operations that replace whole studies.

    Digests are blanked first and records written last. A crash in between leaves the old record,
    without a digest: nothing is lost, and the next ingestion writes the study again.
    """
    stale = Selection(must={"study_id": references}, spared=[point.id for point in points])
    return [BlankDigest(records_of(references)), Remove(stale), Upsert(points)]
