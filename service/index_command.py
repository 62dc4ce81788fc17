"""Runs eclip index: adds the studies of a file, a folder or a PACS to the case library."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from pydicom.datadict import tag_for_keyword
from rich.console import Console

from service.cases.ingest import AT_ONCE, Outcome, Rejected, ingest_source, total
from service.cases.library import CaseLibrary
from service.cases.sources import open_source
from service.command_start import start
from service.console import looking, progress_bar, show_outcome, working
from service.pacs.address import Address, WebAddress, is_address, parse_address
from service.pacs.opening import open_archive
from service.pacs.pull.ledger import Ledger
from service.pacs.pull.source import Pull, Since
from service.settings import Settings
from service.telemetry import log
from service.wiring import open_library_on_ray, open_services

OF_PULL = "of this archive read into the library"
out, err = Console(), Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """A PACS, and which of its studies are asked for; see `Wanted`."""

    address: Address
    where: Mapping[str, Sequence[str]]
    since: Since


def index(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Studies as .jsonl, .csv, .parquet or .tar, a folder of radiographs, or a PACS: "
            "dicomweb+https://host/dicom-web or dimse://AET@host:port",
        ),
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2",
            help="Of a PACS, only studies with one of these values, such as "
            "ModalitiesInStudy=CR,DX. Give it again for another attribute",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="DATE|last",
            help="Of a PACS, only studies from this day on, such as 2026-01-31; `last`: from three "
            "days before the last complete run with the same --where. A run without it also finds "
            "older studies that reached the PACS since",
        ),
    ] = None,
    rejects: Annotated[
        typer.FileTextWrite | None,
        typer.Option(
            encoding="utf-8",
            lazy=False,
            metavar="<path>",
            help="Write each rejected study's place and reason to this file",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Encode on the Ray cluster at this address; `local` starts one here"),
    ] = None,
    encoders: Annotated[
        int, typer.Option(min=1, help="Encoders on the cluster, each with ECLIP_CORES cores")
    ] = 2,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each encoder on the cluster")] = 0,
) -> None:
    """Adds studies to the case library. Exits with 1 if one was rejected."""
    outcomes, settings, begun = list[Outcome](), start(), time.monotonic()
    asked, at_once = _asked(source, where, since), AT_ONCE * (encoders if ray else 1)
    on_ray = None if ray is None else open_library_on_ray(settings, ray, encoders, gpus)
    with on_ray or _open_library(settings) as library:
        try:
            if asked is None:
                outcomes.extend(index_path(library, Path(source), at_once))
            else:
                outcomes.extend(index_archive(library, settings, asked, at_once))
            build_graphs(library)
        finally:
            outcome = total(outcomes)
            if rejects is not None:
                os.fchmod(rejects.fileno(), 0o600)  # it names files, and so perhaps patients
                rejects.writelines(map(_line, outcome.rejected))
            _log_outcome(outcome, time.monotonic() - begun)
            show_outcome(out, err, outcome, *([] if asked is None else [OF_PULL]))
    if outcome.rejected:
        raise typer.Exit(1)


def index_path(library: CaseLibrary, path: Path, at_once: int = AT_ONCE) -> Iterator[Outcome]:
    """Indexes a file or folder. Yields the outcome of each batch, and shows the progress."""
    begun = time.monotonic()
    with looking(err) as looked:
        source = open_source(path, looked)
    log().info("source", studies=source.count, seconds=round(time.monotonic() - begun, 1))
    return tracked(ingest_source(library, source, at_once=at_once), source.count)


def build_graphs(library: CaseLibrary) -> None:
    """Builds the graphs by which a large library is searched, and says so on a terminal."""
    begun = time.monotonic()
    with working(err, "Building graphs for searches"):
        library.store.build_graphs()
    log().info("graphs built", seconds=round(time.monotonic() - begun, 1))


def tracked(batches: Iterable[Outcome], studies: int) -> Iterator[Outcome]:
    """Yields each batch's outcome, and shows the progress on standard error."""
    with progress_bar(err, studies) as bar:
        for done in batches:
            bar.advance(done)
            yield done


def index_archive(
    library: CaseLibrary, settings: Settings, asked: Asked, at_once: int
) -> Iterator[Outcome]:
    """Indexes the studies of a PACS, as `index_path` does those of a folder."""
    begun = time.monotonic()
    with (
        closing(open_archive(asked.address, settings)) as archive,
        closing(_ledger(library, settings, asked.address)) as ledger,
        closing(Pull(archive, ledger, library.pseudonyms, asked.where, asked.since)) as pull,
    ):
        with looking(err, "studies") as looked:
            listed = pull.list_studies(looked)
        log().info("source", studies=listed, seconds=round(time.monotonic() - begun, 1))
        with progress_bar(err, listed) as bar:
            source = pull.source(bar.skip)
            for done in ingest_source(library, source, at_once=at_once):
                pull.settle(done)
                bar.advance(done)
                yield done
        pull.finish()


def _ledger(library: CaseLibrary, settings: Settings, address: Address) -> Ledger:
    """Opens what is known of earlier runs. An empty library has nothing that they stored."""
    limits = (settings.max_image_bytes, settings.max_image_pixels, settings.max_text_chars)
    reader = (version("eclip-radiology"), library.encoder.bundle.manifest.id, *limits)
    ledger = Ledger.of(
        settings.data_dir,
        settings.collection,
        _text(address),
        library.pseudonyms,
        " ".join(map(str, reader)),
    )
    if not library.store.count():
        ledger.forget_stored()
    return ledger


def _text(address: Address) -> str:
    """Returns the address in the one form by which its ledger is found."""
    if isinstance(address, WebAddress):
        return address.url
    return f"{address.ae_title}@{address.host}:{address.port}"


def _asked(source: str, where: Sequence[str] | None, since: str | None) -> Asked | None:
    """Returns what is asked of a PACS; None for a path. Raises BadParameter."""
    if is_address(source):
        return Asked(parse_address(source), _filter(where or ()), _since(since))
    for option, given in (("--where", where), ("--since", since)):
        if given:
            raise typer.BadParameter(
                "It selects studies of a PACS. Leave it out for a file or folder.",
                param_hint=f"'{option}'",
            )
    if not Path(source).exists():
        raise typer.BadParameter(f"Path '{source}' does not exist.", param_hint="'SOURCE'")
    return None


def _filter(where: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in where:
        keyword, _, text = each.partition("=")
        values = [value.strip() for value in text.split(",")]
        if tag_for_keyword(keyword) is None or not all(values) or keyword in found:
            raise typer.BadParameter(
                "Write the keyword of a DICOM attribute and its values, each attribute once, such "
                "as ModalitiesInStudy=CR,DX.",
                param_hint="'--where'",
            )
        found[keyword] = values
    return found


def _since(text: str | None) -> Since:
    if text is None or text == "last":
        return None if text is None else "last"
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "Write a day as 2026-01-31, or `last`.", param_hint="'--since'"
        ) from None


def _line(rejected: Rejected) -> str:
    """Returns a rejected study as a line of the file of rejects."""
    fields = {"number": rejected.number, "place": rejected.place, "reason": rejected.reason}
    return json.dumps(fields) + "\n"


@contextmanager
def _open_library(settings: Settings) -> Iterator[CaseLibrary]:
    with open_services(settings, bulk=True) as wired:
        yield wired.library


def _log_outcome(outcome: Outcome, seconds: float) -> None:
    """Logs how long the command took, and the seconds that batches spent in each stage."""
    stages = {stage: round(spent, 1) for stage, spent in outcome.seconds.items()}
    counts = {"studies": outcome.stored, "rejected": len(outcome.rejected)}
    waited = {"seconds": round(seconds, 1), "waited_for": outcome.limit}
    log().info("indexed", **counts, **waited, **stages)
