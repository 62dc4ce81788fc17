"""Runs the command line: eclip serve, listen, index, search, report, and its other commands."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console

from service import serving
from service.access.guard import Guard
from service.api.context import Services
from service.audit_command import commands as audit_commands
from service.backup_command import backup, restore
from service.bundle.manifest import load
from service.cases import copying
from service.cases.ingest import total
from service.cases.library import Query
from service.cases.own_ids import own_ids
from service.cases.schema import NOBODY, Part
from service.cases.search import DEFAULT_HITS, Mode, SearchRequest, check_k
from service.cases.search import search as search_library
from service.check_command import check
from service.command_start import COMMAND_S, as_usage_error, start
from service.console import (
    bundle_table,
    failure,
    hits_table,
    show_outcome,
    wrong_settings,
)
from service.deadline import Deadline
from service.erase_command import erase
from service.errors import EclipError, SettingInvalid
from service.files import content_of
from service.index_command import build_graphs, index, index_path, tracked
from service.keys_command import keys
from service.listen_command import listen
from service.permissions import write_privately
from service.report_command import report
from service.settings import DEMO_LIBRARY
from service.switch_command import switch
from service.telemetry import log
from service.wiring import open_other_library, open_services

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Chest radiographs to findings, similar cases and cited reports.",
)
cli.add_typer(keys, name="keys")
cli.add_typer(audit_commands, name="audit")
cli.command(help="Add studies to the case library. Run it again to resume.")(index)
cli.command(help="Write a cited report for the images of one study, or repeat one of the log.")(
    report
)
cli.command(
    help="Look for faults in the case library and repair those that are named. Stop the server "
    "first. Exits with 0 if the library is sound, with 1 if there was a fault."
)(check)
cli.command(help="Back up the embedded library, also while a server has it open.")(backup)
cli.command(help="Bring a backup back into an empty data directory.")(restore)
cli.command(help="Erase deleted content from the files now. Stop the server first.")(erase)
cli.command(help="Make an alias of the Qdrant server stand for another collection.")(switch)
cli.command(help="Receive radiographs and send draft reports back; serve the HTTP API as well.")(
    listen
)
out, err = Console(), Console(stderr=True)
SEARCHES = 50
"""Searches that are compared after a library was copied."""


def main() -> None:
    """Runs the command line. Prints an error and exits with 1, or with 2 for a setting."""
    write_privately()
    try:
        cli()
    except (EclipError, OSError) as error:
        err.print(failure(error), highlight=False)
        sys.exit(2 if isinstance(error, SettingInvalid) else 1)
    except (ValidationError, SettingsError) as error:
        err.print(wrong_settings(error), highlight=False)
        sys.exit(2)


@cli.command()
def serve(
    demo: Annotated[
        bool, typer.Option(help="First index the demo case library, if it is missing.")
    ] = False,
) -> None:
    """Serve the HTTP API. Every setting is an ECLIP_* environment variable."""
    settings = start()
    Guard(settings)  # refuses before the models are loaded

    def fill(wired: Services) -> None:
        if demo:
            log().info("demo", studies=total(index_path(wired.library, DEMO_LIBRARY)).stored)

    serving.serve(settings, fill)


@cli.command()
def copy(
    library: Annotated[
        str,
        typer.Argument(
            help="Directory of an embedded library, such as var/studies, or name of a collection "
            "at ECLIP_QDRANT_URL"
        ),
    ],
) -> None:
    """Copy another library's studies into this one. Another bundle's studies are embedded again."""
    settings = start()
    with (
        open_other_library(settings, library) as other,
        open_services(settings, bulk=True) as wired,
    ):
        (store, renditions), target = other, wired.library.store
        copied = copying.copy(store, renditions, wired.library)
        done = total(tracked(copied, copying.missing(store, target)))
        show_outcome(out, err, done, "copied")
        build_graphs(wired.library)
        if store.identity.same_vectors(target.identity):
            alike, searches = copying.searched_alike(store, target, SEARCHES)
            out.print(f"{alike} of {searches} searches find the same ten studies in both libraries")
        lacking = copying.missing(store, target)
    if lacking:
        err.print(f"{lacking} studies were not copied. Correct them, then run this again.")
        raise typer.Exit(1)


@cli.command()
def search(
    query: Annotated[str, typer.Argument(help="A sentence, or the path of a radiograph")],
    target: Annotated[Part, typer.Option(help="Part of the studies to find")] = "report",
    mode: Annotated[
        Mode, typer.Option(help="Rank by meaning, by the sentence's words, or by both")
    ] = "dense",
    k: Annotated[int, typer.Option(min=1, help="Number of hits")] = DEFAULT_HITS,
) -> None:
    """Find the stored images, reports or passages nearest to a sentence or a radiograph."""
    settings, image = start(), content_of(query)
    with as_usage_error("--k"):
        check_k(k, settings.max_k)
    text = query if image is None else None
    asked = Query(target=target, k=k, exclude=NOBODY)
    ids = own_ids([] if image is None else [image], None, None)
    with as_usage_error("--mode"):
        wanted = SearchRequest(asked, image, text, mode, ids.patient_id, ids.study_id)
    with open_services(settings) as wired:
        hits = search_library(wired.library, wired.encoder, wanted, Deadline(COMMAND_S))
    out.print(hits_table(hits))


@cli.command()
def bundle(
    directory: Annotated[Path | None, typer.Argument(exists=True, file_okay=False)] = None,
) -> None:
    """Verify a bundle and show its content."""
    out.print(bundle_table(load(directory or start().bundle)))


if __name__ == "__main__":
    main()
