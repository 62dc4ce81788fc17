"""Keeps the results of the library benchmark in a file, each with its machine and commit."""

import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.archive import processor
from tests.benchmarks.library.contestants import BEFORE, CONTESTANTS
from tests.support.paths import ROOT

Row = dict[str, Any]


@dataclass
class Results:
    """The rows of library.json: one of each size and contestant."""

    path: Path
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = json.loads(self.path.read_text()) if self.path.exists() else []

    def of(self, size: int, contestant: str) -> Row | None:
        """Returns the result of a contestant at a size, or None."""
        found = (row for row in self.rows if (row["size"], row["contestant"]) == (size, contestant))
        return next(found, None)

    def add(self, size: int, contestant: str, measured: Row) -> None:
        """Writes a result in the place of an earlier one."""
        row = {
            "size": size,
            "contestant": contestant,
            "commit": BEFORE if contestant == BEFORE else commit(),
            "machine": machine(),
            **measured,
        }
        kept = [each for each in self.rows if each is not self.of(size, contestant)]
        self.rows = sorted([*kept, row], key=_place)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self.rows, indent=1) + "\n")
        draft.replace(self.path)


def _place(row: Row) -> tuple[int, int]:
    return row["size"], CONTESTANTS.index(row["contestant"])


def commit() -> str:
    """Returns the commit of the working tree; `-dirty` follows where files have been changed."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout[:-1]


def machine() -> Row:
    """Describes the machine at the end of a measurement."""
    return {
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30,
        "python": platform.python_version(),
        "load": os.getloadavg()[1],
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def table(rows: list[Row]) -> str:
    """Writes the results as a table of Markdown."""
    head = (
        *("studies", "", "built, studies/s", "KB a study", "p50 / p99 ms"),
        *("of a finding", "of a view", "of a source", "during a load"),
        *("recall@10, least", "ef", "opened in s", "RSS MB", "anonymous"),
    )
    lines = [head, ("---",) * len(head), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    build, search, load = row["build"], row["search"], row["load"]
    timed = ("all", "a finding", "a view", "a source")
    recalls = [each["recall"] for each in [*map(search.get, timed), load] if each]
    return (
        f"{row['size']:,}",
        row["contestant"],
        f"{build['studies_per_s']:,.0f}",
        f"{build['disk_bytes_per_study'] / 1000:.1f}",
        *(_pair(search.get(name)) for name in timed),
        _pair(load),
        f"{min(recalls):.4f}",
        f"{search['effort'] or ''}",
        f"{search['open_s']:.2f}",
        f"{search['rss_mb']:,.0f}",
        f"{search['anonymous_mb']:,.0f}",
    )


def _pair(times: Row | None) -> str:
    return f"{times['p50_ms']:.2f} / {times['p99_ms']:.2f}" if times else ""
