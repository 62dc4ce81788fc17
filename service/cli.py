"""eclip: serve | index | copy | search | report | bundle. Each calls the API's domain functions."""

import dataclasses
import json
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer
import uvicorn
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from service.app import create_app, open_library_on_ray, open_other_library, open_services
from service.bundle.manifest import load
from service.cases import copying
from service.cases.ingest import AT_ONCE, Outcome, ingest
from service.cases.library import CaseLibrary, Query
from service.cases.schema import Hit, Part
from service.cases.sources import open_source
from service.deadline import Deadline
from service.errors import EclipError
from service.reporting.evidence import Subject
from service.reporting.formats import json_text, plain_text
from service.reporting.replay import Replay, written_again
from service.reporting.report import ReportRequest
from service.settings import DEMO_LIBRARY, Settings
from service.telemetry import configure_logging

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
out, err = Console(), Console(stderr=True)
COMMAND_S = 600.0
SHOWN_REJECTS = 20
SEARCHES = 50

Image = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="PNG, JPEG or DICOM")]


def main() -> None:
    """Run the command line; a typed error prints its detail and exits with 1."""
    try:
        cli()
    except EclipError as error:
        err.print(f"[red]{error.title}:[/red] {escape(error.detail)}", highlight=False)
        sys.exit(1)
    except ValidationError as error:
        for problem in error.errors(include_input=False):
            name = "_".join(str(part) for part in problem["loc"][:1])
            err.print(f"[red]Setting ECLIP_{name.upper()}:[/red] {problem['msg']}")
        sys.exit(2)


@cli.command()
def serve(
    demo: Annotated[
        bool, typer.Option(help="First index the demo case library, if it is not yet there.")
    ] = False,
) -> None:
    """Serve the HTTP API; every setting is an ECLIP_* environment variable."""
    settings = _settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when done
    with open_services(settings) as wired:
        if demo:
            outcome = Outcome()
            _index(wired.library, DEMO_LIBRARY, outcome)
            _show_outcome(outcome)
        out.print(f"Workbench: http://{settings.host}:{settings.port}/   API: …/docs")
        uvicorn.run(
            create_app(settings, wired),
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=math.ceil(settings.longest_s),
        )


@cli.command()
def index(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="studies.jsonl, .csv or .parquet, a .tar shard, or a folder of radiographs",
        ),
    ],
    rejects: Annotated[
        Path | None, typer.Option(help="Write what is rejected here, with its place and reason")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Encode on the Ray cluster of this address; local starts one here"),
    ] = None,
    encoders: Annotated[
        int, typer.Option(min=1, help="On the cluster, each with ECLIP_CORES cores")
    ] = 2,
    gpus: Annotated[float, typer.Option(min=0, help="Of each encoder on the cluster")] = 0,
) -> None:
    """Ingest studies into the case library; run again to resume."""
    outcome, settings = Outcome(), _settings()
    with (
        nullcontext() if rejects is None else rejects.open("w", encoding="utf-8") as file,
        _open_library(settings)
        if ray is None
        else open_library_on_ray(settings, ray, encoders, gpus) as library,
    ):
        try:
            _index(library, source, outcome, AT_ONCE * (encoders if ray else 1))
        finally:
            if file is not None:
                for one in outcome.rejected:
                    file.write(json.dumps(dataclasses.asdict(one)) + "\n")
            _show_outcome(outcome)
    if outcome.rejected:
        raise typer.Exit(1)


@cli.command()
def copy(
    library: Annotated[
        str,
        typer.Argument(
            help="Directory of an embedded library, as var/studies, or a collection of "
            "ECLIP_QDRANT_URL"
        ),
    ],
) -> None:
    """Bring another library's studies into this one; embed them anew if this bundle is another."""
    settings = _settings()
    with open_services(settings) as wired, open_other_library(settings, library) as other:
        (store, renditions), target, outcome = other, wired.library.store, Outcome()
        with _progress(copying.missing(store, target)) as advance:
            copying.copy(store, renditions, wired.library, outcome, advance)
        _show_outcome(outcome)
        if store.identity == target.identity:
            alike, searches = copying.searched_alike(store, target, SEARCHES)
            out.print(f"{alike} of {searches} searches find the same ten reports in both")
        lacking = copying.missing(store, target)
    if lacking:
        err.print(f"{lacking} studies are not in this library. Mend them or run this again.")
        raise typer.Exit(1)


@cli.command()
def search(
    query: Annotated[str, typer.Argument(help="A sentence, or the path of a radiograph")],
    target: Annotated[Part, typer.Option(help="What to find of them")] = "report",
    mode: Annotated[
        Literal["dense", "sparse", "hybrid"],
        typer.Option(help="By meaning, by a sentence's words, or by both"),
    ] = "dense",
    k: Annotated[int, typer.Option(min=1, max=100)] = 10,
) -> None:
    """Find the nearest parts of known studies."""
    path = Path(query)
    words = None if mode == "dense" else query
    if words and (path.is_file() or target == "image"):
        raise typer.BadParameter("only texts have words to compare", param_hint="--mode")
    with open_services(_settings()) as wired:
        if path.is_file():
            vector = wired.encoder.image(path.read_bytes(), Deadline(COMMAND_S)).vector
        elif mode == "sparse":
            vector = None
        else:
            vector = wired.encoder.texts([query], Deadline(COMMAND_S))[0].vector
        _show_hits(wired.library.search(vector, Query(target=target, k=k, words=words)))


@cli.command()
def report(
    images: Annotated[list[Path] | None, typer.Argument(exists=True, dir_okay=False)] = None,
    patient_id: Annotated[str | None, typer.Option(help="Whose cases to leave out")] = None,
    indication: Annotated[str | None, typer.Option(help="For the language model")] = None,
    comparison: Annotated[str | None, typer.Option(help="For the language model")] = None,
    prior_study_id: Annotated[
        str | None, typer.Option(help="An earlier study of the patient, for the language model")
    ] = None,
    k: Annotated[int, typer.Option(min=1, max=100)] = 8,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    replay: Annotated[
        str | None, typer.Option(help="Instead, write the report of this audit record again")
    ] = None,
) -> None:
    """Write a cited report for the images of one study; or say whether one is written again."""
    if bool(images) == bool(replay):
        raise typer.BadParameter("give the images of a study, or --replay with a record")
    deadline = Deadline(COMMAND_S)
    with open_services(_settings()) as wired:
        reporter = wired.reporter
        if replay:
            record = reporter.audit.find(replay)
            _show_replay(written_again(record, reporter, indication, comparison, deadline))
            return
        encoded = [wired.encoder.image(path.read_bytes(), deadline) for path in images or ()]
        subject = Subject(patient_id=patient_id, prior_study_id=prior_study_id)
        request = ReportRequest(k=k, subject=subject, indication=indication, comparison=comparison)
        written = reporter.report(encoded, request, deadline)
    if as_json:
        out.print_json(json_text(written))
    else:
        out.print(plain_text(written), end="", markup=False, highlight=False, soft_wrap=True)


@cli.command()
def bundle(
    directory: Annotated[Path | None, typer.Argument(exists=True, file_okay=False)] = None,
) -> None:
    """Verify a bundle and show what it is."""
    verified = load(directory or _settings().bundle)
    manifest = verified.manifest
    table = Table(title=f"{manifest.name} {manifest.version}", show_header=False)
    table.add_row("id", manifest.id)
    table.add_row("embedding", f"{manifest.dimension} dimensions")
    table.add_row("image", f"{manifest.image.height}×{manifest.image.width}")
    table.add_row("text", f"{manifest.context_length} tokens")
    for name, labels in verified.label_sets.root.items():
        table.add_row(f"labels: {name}", ", ".join(labels))
    for name, value in manifest.metrics.items():
        table.add_row(name, f"{value:.3f}")
    for name, entry in manifest.files.items():
        table.add_row(name, f"{entry.bytes:,} bytes, verified")
    out.print(table)


class _Rate(ProgressColumn):
    """Studies a second."""

    def render(self, task: Task) -> Text:
        """Nothing until it is known."""
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def _settings() -> Settings:
    settings = Settings()
    configure_logging(settings.log_level)
    return settings


@contextmanager
def _open_library(settings: Settings) -> Iterator[CaseLibrary]:
    with open_services(settings) as wired:
        yield wired.library


def _index(library: CaseLibrary, path: Path, outcome: Outcome, at_once: int = AT_ONCE) -> None:
    source = open_source(path)
    with _progress(source.count) as advance:
        ingest(library, source.entries, outcome, advance, at_once=at_once)


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, and what advances it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("Indexing", total=total)
        yield lambda done: progress.advance(task, done)


def _show_outcome(outcome: Outcome) -> None:
    out.print(f"{outcome.stored} studies in the library, {len(outcome.rejected)} rejected")
    for rejected in outcome.rejected[:SHOWN_REJECTS]:
        err.print(escape(f"  study {rejected.number}: {rejected.reason}"), highlight=False)


def _show_hits(hits: list[Hit]) -> None:
    table = Table("score", "study", "findings", "text")
    for hit in hits:
        text = hit.text or f"image ({hit.view or 'view unknown'})"
        cells = (f"{hit.score:.3f}", hit.study_id[:12], ", ".join(hit.findings), text)
        table.add_row(*map(escape, cells))
    out.print(table)


def _show_replay(again: Replay) -> None:
    for change in again.changes:
        out.print(change, markup=False, highlight=False)
    out.print(f"The report is {'the same' if again.same else 'another one'}.")
    if not again.same:
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
