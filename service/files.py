"""Files and folders that are on disk whole or not at all, also after a power cut."""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from service.errors import StoreFull, StoreUnavailable

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Numbers of the errors by which a disk says that it has no room."""
_PROBE = b"\0" * 4096
"""Written to try a folder: one block of a disk."""
_RETRY_AFTER_S = 5.0
"""Seconds after which a client may try again."""


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path` and syncs it. A reader sees the old file or the new one."""
    with written_atomically(path) as draft:
        draft.write_bytes(data)


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Gives a draft path next to `path`, where the caller writes a file or makes a folder.

    At the end the draft is synced and renamed to `path`. It replaces a file; it cannot replace a
    folder that holds something (OSError). After an exception the draft is removed and `path` is as
    it was.
    """
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield draft
        for each in chain(draft.rglob("*") if draft.is_dir() else (), [draft]):
            sync(each)
        draft.replace(path)
        sync(path.parent)
    finally:
        _remove(draft)


def content_of(name: str) -> bytes | None:
    """Returns the content of the file of this name; None if there is none. Raises OSError."""
    path = Path(name)
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a sentence, not a path
            return None
        raise


def make_folder(path: Path) -> None:
    """Makes a folder and its missing parents, and syncs the folders that list the new ones."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync(folder.parent)


def remove_drafts(path: Path) -> None:
    """Removes the drafts of `path` that a killed process left. Nobody else may be writing it."""
    for draft in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        _remove(draft)


def sync(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def probe(folder: Path) -> None:
    """Writes a small file into a folder and removes it. Raises OSError where that fails."""
    trial = folder / ".probe"
    try:
        trial.write_bytes(_PROBE)
    finally:
        trial.unlink(missing_ok=True)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Raises StoreUnavailable for an OSError, or StoreFull where the disk has no room.

    what: was read or written, such as "the renditions". The error names no path.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StoreFull(
                f"The disk has no room for {what}. Free some room on it; nothing else is needed."
            ) from error
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise StoreUnavailable(
            f"The disk refuses {what}: {reason}. Check the directory's permissions and its mount.",
            retry_after_s=_RETRY_AFTER_S,
        ) from error


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft)
    else:
        draft.unlink(missing_ok=True)
