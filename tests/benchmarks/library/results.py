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
from tests.benchmarks.library.contestants import BEFORE, CONTESTANTS, EXACT
from tests.benchmarks.library.data import FILTERS
from tests.support.paths import ROOT

Row = dict[str, Any]
ENOUGH = 0.99
"""Recall at which those that can be told their effort are compared too."""


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
    """Returns the commit of the working tree; `-dirty` follows where the service was changed."""
    head, changed = (
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        for command in (
            ["git", "rev-parse", "--short", "HEAD"],
            ["git", "status", "--porcelain", "service"],
        )
    )
    return f"{head}-dirty" if changed else head


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
    lines = [_cells(row) for row in rows]
    head = tuple(lines[0]) if lines else ()
    body = [head, ("---",) * len(head), *(tuple(line.values()) for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in body)


def _cells(row: Row) -> dict[str, str]:
    build, search, load = row["build"], row["search"], row["load"]
    built, erasure = row["contestant"] != EXACT, row.get("erasure")
    asked = {"p50 / p99 ms": search["all"]} | {f"of {a}": search.get(a) for a in FILTERS[1:]}
    asked |= {"during a paced load": row.get("paced"), "during a load": load}
    enough = [each["p50_ms"] for each in search["efforts"].values() if each["recall"] >= ENOUGH]
    return {
        "studies": f"{row['size']:,}",
        "": row["contestant"],
        "built, studies/s": f"{build['studies_per_s']:,.0f}" if built else "",
        "KB a study": f"{build['disk_bytes_per_study'] / 1000:.1f}" if built else "",
        **{name: _pair(times) for name, times in asked.items()},
        "recall@10, the least": f"{min(each['recall'] for each in asked.values() if each):.4f}",
        "ef": f"{search['effort'] or ''}",
        f"p50 at {ENOUGH:.2f}": f"{enough[0]:.2f}" if enough else "",
        "opened in s": f"{search['open_s']:.2f}",
        "RSS, anonymous MB": f"{search['rss_mb']:,.0f}, {search['anonymous_mb']:,.0f}",
        "a study, a patient erased in s": (
            ", ".join(f"{each['erase_s']:.1f}" for each in erasure.values()) if erasure else ""
        ),
    }


def _pair(times: Row | None) -> str:
    return f"{times['p50_ms']:.2f} / {times['p99_ms']:.2f}" if times else ""
