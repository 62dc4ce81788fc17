"""Runs `eclip report`: writes a report, repeats one, and gives one to a FHIR server."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydicom.dataset import Dataset
from rich.console import Console

from service.cases.own_ids import own_ids
from service.cases.search import check_k
from service.command_start import COMMAND_S, as_usage_error, start
from service.deadline import Deadline
from service.imaging.dicom.header import looks_like_dicom
from service.pacs.drafts.fhir_bundle import transaction
from service.pacs.drafts.fhir_server import FhirServer
from service.pacs.drafts.result_uids import result_uid
from service.pacs.headers import header_of
from service.pacs.origin import Origin
from service.reporting.evidence import Subject
from service.reporting.formats import json_text, plain_text
from service.reporting.pipeline import Reporter
from service.reporting.replay import written_again
from service.reporting.report import DEFAULT_K, Report, ReportRequest
from service.settings import Settings
from service.wiring import open_services

out, err = Console(), Console(stderr=True)


def report(
    images: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="All views of the study"),
    ] = None,
    patient_id: Annotated[
        str | None,
        typer.Option(help="The patient whose cases are left out; else whom a DICOM file names"),
    ] = None,
    indication: Annotated[
        str | None, typer.Option(help="Reason for the examination, for the language model")
    ] = None,
    comparison: Annotated[
        str | None, typer.Option(help="Earlier examinations, for the language model")
    ] = None,
    prior_study_id: Annotated[
        str | None,
        typer.Option(
            help="An earlier study of the patient, for the language model; else the latest that is "
            "earlier than the DICOM files"
        ),
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Number of cases to write from")] = DEFAULT_K,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
    fhir: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Give the report to the FHIR R4 server of this base address as well, for the "
            "patient and the study that the DICOM files name",
        ),
    ] = None,
    replay: Annotated[
        str | None, typer.Option(help="Write the report of this audit record again and compare")
    ] = None,
) -> None:
    """Writes a cited report, or repeats one; prints it, and gives it to a FHIR server if asked."""
    if bool(images) == bool(replay) or (replay and fhir):
        raise typer.BadParameter(
            "Give either the images of one study, perhaps with --fhir, or --replay RECORD."
        )
    deadline, settings = Deadline(COMMAND_S), start()
    with as_usage_error("--k"):
        check_k(k, settings.max_k)
    views = [path.read_bytes() for path in images or ()]
    headers = _headers(views, fhir) if fhir else []
    with open_services(settings) as wired:
        wired.bundle.manifest.require_text()
        if replay:
            _replay(replay, wired.reporter, indication, comparison, deadline)
            return
        subject = Subject.of(own_ids(views, patient_id, None), prior_study_id)
        request = ReportRequest(k=k, subject=subject, indication=indication, comparison=comparison)
        encoded = wired.encoder.views(views, deadline)
        pointing = wired.reporter.pointing(views.__getitem__, encoded, deadline)
        written = wired.reporter.report(encoded, request, deadline, pointing)
    if as_json:
        out.print_json(json_text(written))
    else:
        out.print(plain_text(written), end="", markup=False, highlight=False, soft_wrap=True)
    if fhir:
        _send(written, headers, fhir, settings)


def _headers(views: Sequence[bytes], url: str) -> list[Dataset]:
    """Returns the headers of the images. Raises a usage error for what cannot be sent."""
    if not _is_web_address(url):
        raise typer.BadParameter(
            "It is no address of a server. Write https://host/fhir.", param_hint="'--fhir'"
        )
    if not all(map(looks_like_dicom, views)):
        raise typer.BadParameter(
            "Only DICOM files name the patient and the study. Give these.", param_hint="'--fhir'"
        )
    headers = [header_of(view) for view in views]
    if Origin.of(headers).patient is None:
        raise typer.BadParameter(
            "The DICOM files name no patient. Correct their PatientID.", param_hint="'--fhir'"
        )
    return headers


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _send(written: Report, headers: Sequence[Dataset], url: str, settings: Settings) -> None:
    uid = result_uid(headers, written)
    bundle = transaction(written, Origin.of(headers), uid=uid, written=datetime.now(UTC))
    token = None if settings.fhir_token is None else settings.fhir_token.get_secret_value()
    with closing(FhirServer(url, token, ca=settings.pacs_ca)) as server:
        server.send(bundle)
    err.print("The FHIR server has the report.")


def _replay(
    record_id: str,
    reporter: Reporter,
    indication: str | None,
    comparison: str | None,
    deadline: Deadline,
) -> None:
    """Writes a report again and says what has changed. Ends with 1 if the report has."""
    record = reporter.audit.find(record_id)
    again = written_again(record, reporter, indication, comparison, deadline)
    for change in again.changes:
        out.print(change, markup=False, highlight=False, soft_wrap=True)
    out.print(f"The report is {'the same' if again.same else 'different'}.")
    if not again.same:
        raise typer.Exit(1)
