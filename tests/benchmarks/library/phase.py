"""Measures one phase of one contestant, in a process of its own, and prints it as JSON.

    python -m tests.benchmarks.library.phase PHASE CONTESTANT SIZE FOLDER [NUMBER]

FOLDER has the files of `data.py`; the contestant's are in FOLDER/index. The phases in their order:

    build     all studies, from the first one to a closed index with its graphs
    search    one search after the other; NUMBER is the recall that is the goal
    paced     searches while a thread adds studies at an encoder's pace; NUMBER is their effort
    load      searches while it adds more at full speed and builds graphs; NUMBER as before
    deletion  what it costs to erase a study and a patient
"""

import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.library.contestants import Contestant, contestant
from tests.benchmarks.library.data import FILTERS, WARMING, Data, ranges
from tests.benchmarks.library.truth import recall, recall_while_loading

PERIOD_S = 0.05
"""Seconds between two searches during a load."""
PACE = 100
"""Studies a second that an encoder makes on two cores: `eclip index` puts them so fast."""
PACED = 5000
"""Studies that are put at this pace, which takes 50 s; at most a quarter of those that come later.
"""


def build(kind: type[Contestant], data: Data, path: Path) -> dict[str, Any]:
    """Builds the index. Times are those of everything that must happen; disk is what is left."""
    path.mkdir()
    start = time.perf_counter()
    index = kind(path, data, building=True)
    for first, last in ranges(0, data.size, kind.batch):
        index.add(first, last)
    written = time.perf_counter()
    index.finish()
    index.close()
    seconds = time.perf_counter() - start
    disk = sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
    return {
        "versions": {package: version(package) for package in kind.packages},
        "studies_per_s": data.size / seconds,
        "written_s": written - start,
        "seconds": seconds,
        "disk_bytes_per_study": disk / data.size,
        "peak_rss_mb": memory("status", "VmHWM"),
    }


def search(kind: type[Contestant], data: Data, path: Path, goal: float) -> dict[str, Any]:
    """Searches with the least effort that reaches the goal, or the most, then with filters."""
    start = time.perf_counter()
    index = kind(path, data, building=False)
    opened = time.perf_counter() - start
    index.prepare()
    warm(index, data)
    tried, effort = {}, 0
    for effort in kind.efforts:
        times, found = timed(index, data, "all", effort)
        tried[effort] = times | {"recall": recall(data, found, "all")}
        if tried[effort]["recall"] >= goal:
            break
    filtered = {
        name: timed(index, data, name, effort) for name in FILTERS[1:] if kind.filters
    }  # recall is worked out once memory has been measured
    memories = {
        "rss_mb": memory("smaps_rollup", "Rss"),
        "anonymous_mb": memory("smaps_rollup", "Anonymous"),
    }
    index.close()
    return {
        "open_s": opened,
        "effort": effort,
        "efforts": tried if len(tried) > 1 else {},
        "all": tried[effort],
        "measured": index.measured(),
        **{
            name: times | {"recall": recall(data, found, name)}
            for name, (times, found) in filtered.items()
        },
        **memories,
    }


def warm(index: Contestant, data: Data) -> None:
    """Searches without counting it, so that what is read only once has been read."""
    for vector in data.asked[:WARMING]:
        index.search(vector, "all", index.efforts[-1])


def timed(
    index: Contestant, data: Data, name: str, effort: int
) -> tuple[dict[str, float], list[list[int]]]:
    """Returns milliseconds of one search at a time, and what each search found."""
    taken, found = [], []
    for vector in data.asked[WARMING : WARMING + index.searches]:
        start = time.perf_counter()
        found.append(index.search(vector, name, effort))
        taken.append(time.perf_counter() - start)
    return percentiles(taken), found


def paced(kind: type[Contestant], data: Data, path: Path, effort: float) -> dict[str, Any]:
    """Searches while the first of the later studies are added as fast as they are encoded."""
    return searched_during(kind, data, path, effort, (data.size, _paced_until(data)), PACE)


def load(kind: type[Contestant], data: Data, path: Path, effort: float) -> dict[str, Any]:
    """Searches while the other later studies are added as fast as the contestant can."""
    return searched_during(kind, data, path, effort, (_paced_until(data), data.total), math.inf)


def _paced_until(data: Data) -> int:
    return data.size + min(PACED, data.loaded // 4)


def searched_during(
    kind: type[Contestant],
    data: Data,
    path: Path,
    effort: float,
    numbers: tuple[int, int],
    pace: float,
) -> dict[str, Any]:
    """Searches at a steady pace from the first study that a thread adds to the last graph.

    Milliseconds count from the moment at which a search was due, so that whoever waits behind a
    slow one is counted too; `alone` are those of the searches themselves.

    numbers: bounds of the studies that are added. pace: studies a second; none waits for a second.
    """
    index, asked = kind(path, data, building=False), data.asked[WARMING:]
    index.prepare()
    warm(index, data)
    begin, end = numbers
    added = begin - data.size

    def add() -> float:
        nonlocal added
        for first, last in ranges(begin, end, int(min(kind.loaded, pace))):
            time.sleep(max(0.0, start + (last - begin) / pace - time.perf_counter()))
            index.add(first, last)
            added = last - data.size
        written = time.perf_counter()
        index.finish()
        return written

    found, loaded = list[list[int]](), list[int]()
    waited, alone = list[float](), list[float]()
    with ThreadPoolExecutor(1) as executor:
        start = due = time.perf_counter()
        adding = executor.submit(add)
        while not adding.done():
            time.sleep(max(0.0, due - time.perf_counter()))
            loaded.append(added)
            begun = time.perf_counter()
            found.append(index.search(asked[len(found) % len(asked)], "all", int(effort)))
            ended = time.perf_counter()
            alone.append(ended - begun)
            waited.append(ended - due)
            due += PERIOD_S
        written, finished = adding.result() - start, time.perf_counter() - start
    peak = memory("status", "VmHWM")
    index.close()
    queries = [number % len(asked) for number in range(len(found))]
    return {
        "studies": end - begin,
        "searches": len(found),
        "written_s": written,
        "seconds": finished,
        **percentiles(waited),
        "longest_ms": 1000 * max(waited),
        "alone": percentiles(alone),
        "recall": recall_while_loading(data, found, queries, loaded),
        "peak_rss_mb": peak,
    }


def deletion(path: Path, data: Data) -> dict[str, Any]:
    """Measures the erasures in our library."""
    from tests.benchmarks.library.ours import deletions

    return deletions(path, data)


def percentiles(taken: list[float]) -> dict[str, float]:
    """Returns the median and the 99th percentile of seconds, in milliseconds."""
    return {
        "p50_ms": 1000 * float(np.median(taken)),
        "p99_ms": 1000 * float(np.percentile(taken, 99)),
    }


def memory(file: str, name: str) -> float:
    """Returns a figure of this process's memory from a file of /proc/self, in MB."""
    lines = Path("/proc/self", file).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def main(phase: str, name: str, size: str, folder: str, number: str = "0") -> None:
    """Measures and prints."""
    data, path, kind = Data(Path(folder), int(size)), Path(folder) / "index", contestant(name)
    phases: dict[str, Callable[[], dict[str, Any]]] = {
        "build": lambda: build(kind, data, path),
        "search": lambda: search(kind, data, path, float(number)),
        "paced": lambda: paced(kind, data, path, float(number)) if kind.loads else {},
        "load": lambda: load(kind, data, path, float(number)) if kind.loads else {},
        "deletion": lambda: deletion(path, data),
    }
    sys.stdout.write(json.dumps(phases[phase]()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
