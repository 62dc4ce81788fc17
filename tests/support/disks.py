"""Mounts small disks in memory and fills them, and tells what the system keeps of a file."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, mib: int, *, inodes: int | None = None) -> Iterator[Path]:
    """Mounts a disk of so many MiB on `folder` and unmounts it at the end.

    Skips the test where this process may not mount.
    """
    folder.mkdir()
    options = f"size={mib}m" + (f",nr_inodes={inodes}" if inodes else "")
    mount = ["mount", "-t", "tmpfs", "-o", options, "eclip-test", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the command `mount`")
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a filesystem")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free(folder: Path) -> int:
    """Returns the free bytes of a folder's disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def fill(folder: Path, *, left: int = 0) -> Path:
    """Writes a file that leaves so many bytes of the disk free, and returns its path."""
    filler = folder / "filler"
    with filler.open("ab") as file:
        held = os.fstat(file.fileno()).st_size
        if (size := free(folder) - left) > 0:
            os.posix_fallocate(file.fileno(), held, size)
    return filler


def cached(file: Path) -> bool:
    """Tells whether a file can be read without waiting for the disk."""
    with file.open("rb") as opened:
        try:
            read = os.preadv(opened.fileno(), [bytearray(2**20)], 0, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
    return read == min(2**20, file.stat().st_size)
