"""Leaves what a killed process leaves of a file that is written atomically."""

from pathlib import Path


def leave_drafts(path: Path) -> None:
    """Puts two half-written drafts of `path` next to it, as after two kills."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        path.with_name(f".{path.name}.{number:08x}.part").write_bytes(b"half")
