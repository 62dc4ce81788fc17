"""Measures how fast DICOM files of every transfer syntax are read, and how fast they are indexed.

`make bench-archive` makes the peers' environment and runs `python -m tests.benchmarks.archive
FOLDER`. The folder keeps what is made once: the files, the bundles, and the build at an earlier
commit with an environment of its own. Everything takes turns; figures are medians over the rounds,
after one that does not count.

- Reading: CPU-milliseconds of one 5-megapixel radiograph of 12 bits from its file to the tower's
  input of 224×224, for this build and the earlier one without and with a reducing gap, and for
  other readers followed by open_clip's evaluation transform. Only speed is compared: but for
  "pydicom, window" the others apply no window, MONAI and SimpleITK leave MONOCHROME1 inverse, and
  so they do less.
- Indexing: images a second of `eclip index` of a mixed archive from the command's start to its end
  (and without what an archive of one object takes), CPU-seconds, and the peak of resident memory.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console

from tests.benchmarks.archive_index import Run, bundles, index
from tests.benchmarks.archive_index import commands as index_commands
from tests.benchmarks.archive_objects import MIX, NAMES, every_syntax, mixed_archive
from tests.benchmarks.archive_peers import CannotReadError, Cost, Reader, before, commands, started
from tests.benchmarks.archive_tables import index_table, ratio_table, reading_table, refusals

Readings = dict[str, dict[str, list[Cost] | str]]
"""Syntax → reader → the cost in each round, or the type of its error."""
Runs = dict[str, dict[str, list[tuple[Run, Run]]]]
"""Bundle → build → (of the archive, of one object) in each round."""


def main(
    folder: Annotated[Path, typer.Argument(help="Keeps what is made once: 4 GB")],
    peers: Annotated[
        Path | None, typer.Option(help="A Python that has the other readers: .venv-archive")
    ] = None,
    earlier: Annotated[bool, typer.Option(help="Compare with the build before")] = True,
    syntaxes: Annotated[str, typer.Option(help="Only syntaxes whose name has this in it")] = "",
    rounds: Annotated[int, typer.Option(min=0, help="Of reading")] = 5,
    index_rounds: Annotated[int, typer.Option(min=0, help="Of indexing")] = 2,
    objects: Annotated[int, typer.Option(min=2, help="In the mixed archive")] = 200,
    quick: Annotated[
        bool, typer.Option(help="One round of each, 20 objects, the demo's bundle alone")
    ] = False,
) -> None:
    """Measures, prints, and writes FOLDER/archive.json."""
    if quick:
        rounds, index_rounds, objects = min(rounds, 1), min(index_rounds, 1), min(objects, 20)
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    checkout = before(folder) if earlier else None
    begun, load = datetime.now(UTC), os.getloadavg()
    readings, runs = Readings(), Runs()
    if rounds:
        files = {name: file for name, file in every_syntax(folder).items() if syntaxes in name}
        with started(commands(checkout, peers), folder / "readers.log") as readers:
            readings = read(readers, files, rounds)
    if index_rounds:
        models = bundles(folder, vit=not quick)
        archives = mixed_archive(folder, objects), mixed_archive(folder, 1)
        runs = index_all(checkout, models, archives, index_rounds)
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": processor(),
        "python": platform.python_version(),
        "load_before": load[0],
        "begun": begun.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - begun).total_seconds()),
    }
    found = {
        "machine": machine,
        "mix": {NAMES[syntax]: count for syntax, count in MIX.items()},
        "reading": readings,
        "indexing": {
            bundle: {
                build: [(asdict(whole), asdict(one)) for whole, one in done]
                for build, done in builds.items()
            }
            for bundle, builds in runs.items()
        },
    }
    (folder / "archive.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console = Console(width=170)
    if readings:
        costs = medians(readings)
        console.print(reading_table(costs), refusals(costs), ratio_table(costs))
    if runs:
        console.print(index_table(runs, objects))
    console.print(machine)


def processor(cpus: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the processor's name as Linux has it, or its architecture."""
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def read(readers: Mapping[str, Reader], files: Mapping[str, Path], rounds: int) -> Readings:
    """Reads each file with each reader once without counting it, then once a round."""
    found: Readings = {syntax: {name: [] for name in readers} for syntax in files}
    for number in range(rounds + 1):
        for syntax, path in files.items():
            for name, reader in readers.items():
                costs = found[syntax][name]
                if isinstance(costs, str):
                    continue
                try:
                    cost = reader.read(path)
                except CannotReadError as error:
                    found[syntax][name] = str(error)
                else:
                    costs += [cost] if number else []
    return found


def medians(readings: Readings) -> dict[str, dict[str, Cost | str]]:
    """Returns the median of each kind of cost, and errors as they are."""
    return {
        syntax: {
            name: costs
            if isinstance(costs, str)
            else {kind: median(cost[kind] for cost in costs) for kind in costs[0]}
            for name, costs in readers.items()
        }
        for syntax, readers in readings.items()
    }


def index_all(
    checkout: Path | None, models: Mapping[str, Path], archives: tuple[Path, Path], rounds: int
) -> Runs:
    """Indexes both archives with every bundle by both builds, which take turns."""
    builds = index_commands(checkout)
    runs: Runs = {bundle: {build: [] for build in builds} for bundle in models}
    for _ in range(rounds):
        for bundle, path in models.items():
            for build, (command, place) in builds.items():
                whole, one = (index(command, place, archive, path) for archive in archives)
                runs[bundle][build].append((whole, one))
    return runs


if __name__ == "__main__":
    typer.run(main)
