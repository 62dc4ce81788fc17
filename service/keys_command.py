"""Runs eclip keys: makes, lists and removes the API keys of the key file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from service.access.key_file import add_key, read_keys, remove_key
from service.errors import SettingInvalid
from service.settings import read_settings

keys = typer.Typer(no_args_is_help=True, help="Make, list and remove API keys (ECLIP_KEY_FILE).")
out, err = Console(), Console(stderr=True)
Name = Annotated[str, typer.Argument(help="Who has the key, as the logs will say")]


@keys.command()
def new(
    name: Name,
    scopes: Annotated[
        str, typer.Option(help="What it opens: read, write, delete, metrics, with commas between")
    ],
    expires: Annotated[
        str | None,
        typer.Option(help="Day (UTC) from which it opens nothing, such as 2027-01-31"),
    ] = None,
) -> None:
    """Make a key, print it once and add its hash to the key file."""
    path = _key_file()
    entry = {"scopes": [scope.strip() for scope in scopes.split(",")], "expires": expires}
    print(add_key(path, name, entry))  # noqa: T201 — plain, for $(…); rich would wrap it
    err.print(f"Keep this key: only its hash is in {path}.", soft_wrap=True, markup=False)


@keys.command("list")
def list_keys() -> None:
    """Show the names, scopes and expiry of all keys."""
    table = Table("name", "scopes", "expires")
    for name, entry in read_keys(_key_file()).items():
        until = "never" if entry.expires is None else f"{entry.expires:%Y-%m-%d %H:%M %Z}"
        over = entry.expires is not None and entry.expires <= datetime.now(UTC)
        table.add_row(name, ", ".join(entry.scopes), f"{until} (expired)" if over else until)
    out.print(table)


@keys.command()
def remove(name: Name) -> None:
    """Remove a key. A running server refuses it from its next request on."""
    path = _key_file()
    remove_key(path, name)
    out.print(f"{path} has no key {name} any more.", soft_wrap=True, markup=False)


def _key_file() -> Path:
    """Returns the path of the key file. Raises SettingInvalid if no setting names one."""
    path = read_settings().key_file
    if path is None:
        raise SettingInvalid(
            "Set ECLIP_KEY_FILE to the path of the key file, here and for `serve`."
        )
    return path
