"""Backs up the embedded case library and brings it back: `eclip backup`, `eclip restore`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.cases.backup import back_up
from service.cases.backup import restore as bring_back
from service.command_start import start
from service.errors import StoreUnavailable
from service.telemetry import log

out = Console()


def backup(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", file_okay=False, help="Where each backup gets a folder"),
    ],
) -> None:
    """Copies the library, renditions, key and logs into a new folder, named by the time."""
    settings = start()
    if settings.qdrant_url is not None:
        raise StoreUnavailable(
            "The library is on a Qdrant server, which makes snapshots of its collections itself. "
            "Take one there, and copy the data directory while nobody writes."
        )
    made = back_up(settings.data_dir, settings.collection, folder, settings.disk_reserve_bytes)
    log().info("backed up", held_s=round(made.held_s, 2))
    out.print(f"Backed up to {made.path}", soft_wrap=True, markup=False, highlight=False)


def restore(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="BACKUP", exists=True, file_okay=False, help="A folder that `backup` made"
        ),
    ],
) -> None:
    """Copies a backup into ECLIP_DATA_DIR, which must be empty."""
    bring_back(folder, start().data_dir)
    out.print("Restored. Check it with `eclip check`, then start the server.")
