"""Keeps a note on disk of what a process is about to do, for the next one if this one is killed."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from service.errors import StoreUnavailable
from service.files import make_folder, sync
from service.imaging.deidentify import StudyRef

_FORGOTTEN_S = 3600
"""Seconds after which a note that nobody finished writing is removed."""


@dataclass(frozen=True, slots=True)
class Note:
    """Studies that are being written, and the names of the renditions of all their versions."""

    studies: list[StudyRef]
    names: list[str]


@contextmanager
def noted(folder: Path, note: Note) -> Iterator[None]:
    """Keeps the note during the block, with a lock that shows that this process lives.

    The note stays where the block raises OSError or StoreUnavailable: the disk may have refused to
    tidy up.
    """
    if not note.names:
        yield
        return
    make_folder(folder)
    path = folder / f"{secrets.token_hex(8)}.json"
    draft = path.with_suffix(".new")
    with draft.open("x") as file:
        with suppress(OSError):  # a filesystem without locks: the note is never taken for left
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            file.write(json.dumps(asdict(note)))
            file.flush()
            os.fsync(file.fileno())
            draft.rename(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync(folder)
        try:
            yield
        except (OSError, StoreUnavailable):
            raise
        except BaseException:
            path.unlink()
            raise
        path.unlink()


def left_notes(folder: Path) -> Iterator[Note]:
    """Yields the notes of processes that are gone, and removes each after it was dealt with."""
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError), path.open() as file:
            if _locked(file):
                yield Note(**json.load(file))
                path.unlink()
    for path in folder.glob("*.new"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                path.unlink()


def _locked(file: IO[str]) -> bool:
    """Takes the lock. Returns False if a living process has it, or the filesystem has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
