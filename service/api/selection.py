"""Reads which stored cases a request may use: conditions, excluded patients, how many."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.cases.records import Identifier
from service.cases.schema import CaseFilter

AnyOf = Annotated[tuple[str, ...], Field(max_length=64, fail_fast=True)]


class Filter(BaseModel):
    """Conditions on stored cases. A case must meet all of them; each allows any of its values."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

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


class Exclude(BaseModel):
    """The patient or study, by the caller's own ids, whose cases are left out."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    patient_id: Identifier | None = None
    """Leaves out all studies of this patient."""
    study_id: Identifier | None = None
    """Leaves out this study and, if it is stored, all studies of its patient."""
