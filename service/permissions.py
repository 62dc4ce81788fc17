"""Keeps what the service writes from other users of the machine."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from service.telemetry import log

OTHERS = 0o077
"""Mode bits of everybody but the owner."""
KEPT = ("renditions", "audit", "identifiers.key")
"""What a data directory holds besides its case libraries."""


def write_privately() -> None:
    """Makes every later file of this process 0600 and every directory 0700, whoever makes it."""
    os.umask(OTHERS)


def close_to_others(paths: Iterable[Path]) -> None:
    """Takes the rights of others from files and directories that an earlier version made.

    A directory that is closed already is not looked into.
    """
    for path in paths:
        if path.exists() and _mode(path) & OTHERS:
            within = (each for each in path.rglob("*") if not each.is_symlink())
            try:
                for each in (*within, path):  # itself last: a walk that was cut short is repeated
                    each.chmod(_mode(each) & ~OTHERS)
            except OSError as error:
                log().warning("others may read the data", error=type(error).__name__)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
