"""Reads which stored cases a request may use: conditions, excluded patients, how many."""

from typing import Annotated

from pydantic import Field

from service.api.parameters import Parameters
from service.cases.schema import CaseFilter
from service.identifiers import Identifier

AnyOf = Annotated[tuple[str, ...], Field(max_length=64, fail_fast=True)]


class Filter(Parameters):
    """Conditions on stored cases. A case must meet all of them; each allows any of its values."""

    source: AnyOf = ()
    """Where the study comes from."""
    view: AnyOf = ()
    """View of the image, such as `PA`; for reports and passages, of any image of the study."""
    findings: AnyOf = ()
    """Findings of the study."""
    section: AnyOf = ()
    """Section of the report, such as `impression`. Only passages have one."""

    def where(self) -> CaseFilter:
        """Returns the conditions in the case library's form."""
        return CaseFilter(self.source, self.view, self.findings, self.section)


class Exclude(Parameters):
    """The patient or study, by the caller's own ids, whose cases are left out."""

    patient_id: Identifier | None = None
    """Leaves out all studies of this patient."""
    study_id: Identifier | None = None
    """Leaves out this study and, if it is stored, all studies of its patient."""
