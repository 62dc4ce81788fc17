"""Copies the files of an embedded library as a killed process would leave them.

The copy lies in the library's own directory, where most files can be hard links, so that writes
wait for a moment only. It is then read at leisure, and removed.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.cases.generations import copied_files, copy_file, link_shard
from service.disk import Reserve, bytes_taken
from service.errors import StoreFull

_PREFIX = "snapshot-"


@contextmanager
def room_for_snapshot(library: Path) -> Iterator[Path]:
    """Gives an empty folder for a snapshot, which is removed with its content at the end."""
    remove_abandoned(library)
    while (descriptor := _locked(folder := library / f"{_PREFIX}{uuid.uuid4().hex}")) is None:
        pass
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(descriptor)


def require_room(library: Path, reserve: int) -> None:
    """Raises StoreFull unless a snapshot leaves half of the reserve free, as the ballast has half.

    Whoever writes is to be locked out.
    """
    needed = bytes_of_snapshot(library / "collection")
    if not Reserve(library, reserve).has(needed):
        raise StoreFull(
            "The disk of the data directory is too full for a backup, which takes "
            f"{needed // 2**20 + 1} MiB there until it ends. Free that much on it, besides half of "
            "ECLIP_DISK_RESERVE_BYTES."
        )


def bytes_of_snapshot(collection: Path) -> int:
    """Returns the bytes that a snapshot takes: those of the files that cannot be hard links."""
    return sum(
        bytes_on_disk(copied_files(each) if each.is_dir() else [each])
        for each in collection.glob("[!.]*")
    )


def bytes_on_disk(paths: Iterable[Path]) -> int:
    """Returns the bytes that files and folders take on a disk, holes left out."""
    return sum(bytes_taken(path.stat()) for path in paths)


def take_snapshot(collection: Path, folder: Path) -> None:
    """Fills the folder with a copy of the collection. Whoever writes is to be locked out."""
    for each in collection.glob("[!.]*"):  # no drafts
        if each.is_dir():
            link_shard(each, folder / each.name)
        else:
            copy_file(each, folder / each.name)


def remove_abandoned(library: Path) -> None:
    """Removes the snapshots of processes that have ended. Others stay."""
    for folder in library.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # its process has just removed it
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            except BlockingIOError:  # in use
                pass
            finally:
                os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """Makes a folder and locks it; returns its descriptor, or None if it was swept before that."""
    folder.mkdir(mode=0o700)
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            return descriptor
        os.close(descriptor)
    return None
