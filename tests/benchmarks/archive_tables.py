"""Lays out what the archive benchmark found, beside the targets of its issue."""

from collections.abc import Mapping, Sequence
from statistics import median

from rich.table import Table

from tests.benchmarks.archive_index import Run
from tests.benchmarks.archive_peers import BEFORE, BEFORE_GAP, OTHERS, OURS, OURS_GAP, OWN, Cost

TARGETS = {
    "Implicit VR LE": (1.5, None),
    "Explicit VR LE": (1.5, None),
    "Explicit VR BE": (1.5, None),
    "RLE Lossless": (2.0, None),
    "JPEG Lossless": (12.0, None),
    "JPEG Lossless SV1": (12.0, None),
    "JPEG-LS Lossless": (5.0, None),
    "JPEG-LS Near-Lossless": (5.0, None),
    "JPEG 2000 Lossless": (1.0, 12.0),
    "JPEG 2000": (1.0, 12.0),
}
"""Syntax → how many times faster than the earlier build it must be, without and with a gap."""
INDEX_TARGET = {"demo": 6.0}
"""Bundle → how many times as many images a second."""

Costs = Mapping[str, Mapping[str, Cost | str]]


def reading_table(costs: Costs) -> Table:
    """Returns CPU-milliseconds to the tower's input, and in brackets those of reading alone."""
    readers = [name for name in (*OWN, *OTHERS) if name in next(iter(costs.values()))]
    table = Table("CPU ms (reading)", *readers)
    for syntax, found in costs.items():
        table.add_row(syntax, *(_cell(found[name]) for name in readers))
    return table


def refusals(costs: Costs) -> str:
    """Returns a line for each reader and type of error: the syntaxes that it cannot read."""
    found: dict[tuple[str, str], list[str]] = {}
    for syntax, readers in costs.items():
        for name, error in readers.items():
            if isinstance(error, str):
                found.setdefault((name, error), []).append(syntax)
    return "\n".join(
        f"{name} cannot read, {error}: {', '.join(syntaxes)}"
        for (name, error), syntaxes in found.items()
    )


def ratio_table(costs: Costs) -> Table:
    """Returns how many times less CPU this build takes, and whether that is the target.

    First to the tower's input, and in brackets for reading alone.
    """
    table = Table(
        "syntax", f"× {BEFORE} (reading)", "target", "both with gap 2", "target",
        "fastest peer", "× it", "× it, gap 2",
    )  # fmt: skip
    for syntax, found in costs.items():
        plain, gap = TARGETS.get(syntax, (None, None))
        peers = {n: cost["cpu_ms"] for n in OTHERS if isinstance(cost := found.get(n), dict)}
        best = min(peers, key=lambda name: peers[name], default="")
        table.add_row(
            syntax, *_times_earlier(found.get(BEFORE), found[OURS], plain),
            *_times_earlier(found.get(BEFORE_GAP), found[OURS_GAP], gap),
            best, *(_times(ratio(found.get(best), found[own])) for own in (OURS, OURS_GAP)),
        )  # fmt: skip
    return table


def index_table(runs: Mapping[str, Mapping[str, Sequence[tuple[Run, Run]]]], objects: int) -> Table:
    """Returns medians over the runs; the peak is the highest.

    CPU time, and images a second "without start", leave out what an archive of one object takes.
    """
    table = Table(
        "bundle", "build", "images/s", f"× {BEFORE}", "target", "without start", f"× {BEFORE}",
        "CPU ms an image", "peak MiB", "rejected",
    )  # fmt: skip
    for bundle, builds in runs.items():
        rates = {build: _rates(done, objects) for build, done in builds.items()}
        for build, done in builds.items():
            whole, steady = rates[build]
            base = rates.get(BEFORE)
            times = whole / base[0] if base else None
            target = INDEX_TARGET.get(bundle) if build == OURS else None
            cpu = median(1000 * (run.cpu_s - one.cpu_s) / (objects - 1) for run, one in done)
            peak = max(run.peak_mib for run, _ in done)
            table.add_row(
                bundle, build, f"{whole:.2f}", _times(times), verdict(times, target),
                f"{steady:.2f}", _times(steady / base[1] if base else None),
                f"{cpu:.0f}", f"{peak:.0f}", str(max(run.rejected for run, _ in done)),
            )  # fmt: skip
    return table


def ratio(slow: Cost | str | None, fast: Cost | str | None, kind: str = "cpu_ms") -> float | None:
    """Returns how many times the CPU of one the other takes; None where one cannot read it."""
    if isinstance(slow, dict) and isinstance(fast, dict):
        return slow[kind] / fast[kind]
    return None


def verdict(reached: float | None, target: float | None) -> str:
    """Returns the target and whether it is met. Example: "12: missed"."""
    if target is None:
        return ""
    return f"{target:g}: {'met' if reached is not None and reached >= target else 'missed'}"


def _times_earlier(
    slow: Cost | str | None, fast: Cost | str, target: float | None
) -> tuple[str, str]:
    """Returns both ratios, and what becomes of the target by each. Example: "12: missed (met)"."""
    whole, reading = (ratio(slow, fast, kind) for kind in ("cpu_ms", "read_ms"))
    verdicts = verdict(whole, target), verdict(reading, target).partition(": ")[2]
    return _pair(_times(whole), _times(reading)), _pair(*verdicts)


def _pair(first: str, second: str) -> str:
    return f"{first} ({second})" if second else first


def _rates(done: Sequence[tuple[Run, Run]], objects: int) -> tuple[float, float]:
    """Images a second of the whole command, and without what one object takes."""
    whole = median(objects / run.seconds for run, _ in done)
    steady = [(objects - 1) / (run.seconds - one.seconds) for run, one in done]
    return whole, median(steady)


def _cell(cost: Cost | str) -> str:
    if isinstance(cost, str):
        return "cannot"
    return f"{cost['cpu_ms']:.0f} ({cost['read_ms']:.0f})"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
