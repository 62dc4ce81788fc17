"""Runs `eclip audit`: erases from the audit log what concerns a patient."""

from typing import Annotated

import typer
from rich.console import Console

from service.command_start import start
from service.reporting.audit_erasure import Erasure, erase
from service.wiring import open_audit_log

commands = typer.Typer(no_args_is_help=True, help="Work on the log of written reports.")


@commands.callback()
def audit() -> None:
    """Work on the log of written reports."""


@commands.command("erase")
def erase_patient(
    patient_id: Annotated[
        str | None, typer.Argument(help="The patient: your own id, or a reference (pat_…)")
    ] = None,
    study: Annotated[
        list[str] | None,
        typer.Option(help="A study of the patient: your own id, or a reference (stu_…). Repeat it"),
    ] = None,
) -> None:
    """Erase what the audit log has of a patient. A server may be running."""
    if patient_id is None and not study:
        raise typer.BadParameter("Give a patient, or at least one --study.")
    Console().print(sentence(erase(open_audit_log(start()), patient_id, study or ())))


def sentence(done: Erasure) -> str:
    """Returns what an erasure did, in words."""
    return (
        f"{done.removed} records removed; {done.changed} records of other patients without what "
        f"they cited; {done.cut} lines removed that a crash had cut short. {done.days} files "
        "written again."
    )
