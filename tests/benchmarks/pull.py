"""Measures `eclip index` of an archive in Orthanc against that of the same files in a folder.

`python -m tests.benchmarks.pull --studies 200` takes turns between the two, each into an empty
library, and prints medians of studies a second, the seconds by stage, and their ratio. Each study
is a radiograph of 5 megapixels of 12 bits, in five transfer syntaxes by turns. Orthanc runs on the
same machine, so its work counts against the pull. `--node` pulls by C-GET instead of DICOMweb.

The seconds are those from the opened library to the end, as the command's log has them. The CPU
seconds are those of the whole command, its decoders and Orthanc. On a machine that others use as
well, their ratio is the steadier one.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import typer
from pydicom import uid

from service.settings import DEMO_BUNDLE, PREFIX
from tests.benchmarks.indexing import BITS, SYNTAXES, shadows
from tests.benchmarks.serving import make_model
from tests.support.archive import archived
from tests.support.orthanc import run_orthanc

STAGES = ("reading", "decoding", "encoding", "writing")


def main(
    studies: Annotated[int, typer.Option(min=1)] = 200,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    vit: Annotated[bool, typer.Option("--vit", help="A ViT-B-32 instead of the demo")] = False,
    node: Annotated[bool, typer.Option("--node", help="DIMSE instead of DICOMweb")] = False,
) -> None:
    """Prints the medians over the rounds."""
    runs = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        bundle = make_model(place)[0].path if vit else DEMO_BUNDLE
        (folder := place / "folder").mkdir()
        with run_orthanc(place / "orthanc") as orthanc:
            for number in range(studies):
                file = radiograph(number)
                (folder / f"{number:06}").write_bytes(file)
                orthanc.put(file)
            sources = {"folder": str(folder), "Orthanc": orthanc.node if node else orthanc.web}
            for _ in range(rounds):
                for name, source in sources.items():
                    with tempfile.TemporaryDirectory(dir=scratch) as data_dir:
                        before = cpu_s(orthanc.process.pid)
                        measured = index(source, bundle, Path(data_dir), studies)
                        measured["cpu"] = round(cpu_s(orthanc.process.pid) - before, 1)
                        runs[name].append(measured)
                        typer.echo(f"{name:8} {runs[name][-1]}", err=True)
    medians = {
        name: {key: median(each[key] for each in measured) for key in measured[0]}
        for name, measured in runs.items()
    }
    for name, each in medians.items():
        shown = ", ".join(f"{key} {each[key]:.1f}" for key in ("seconds", "cpu", *STAGES))
        typer.echo(f"{name:8} {studies / each['seconds']:6.2f} studies/s; {shown}")
    of_time, of_cpu = (
        medians["folder"][key] / medians["Orthanc"][key] for key in ("seconds", "cpu")
    )
    typer.echo(f"Orthanc: {of_time:.2f} of the folder's speed, {of_cpu:.2f} by CPU seconds")


def cpu_s(server: int) -> float:
    """Returns the CPU seconds so far of ended commands, and of a server by its process id."""
    ended, running = (
        resource.getrusage(resource.RUSAGE_CHILDREN),
        psutil.Process(server).cpu_times(),
    )
    return ended.ru_utime + ended.ru_stime + running.user + running.system


def radiograph(number: int) -> bytes:
    """Returns the file of a study of its own."""
    study = f"2.25.{number + 1}"
    return archived(
        SYNTAXES[number % len(SYNTAXES)],
        shadows(number),
        BITS,
        SOPClassUID=uid.DigitalXRayImageStorageForPresentation,
        Modality="DX",
        PatientID=f"p{number}",
        StudyInstanceUID=study,
        SeriesInstanceUID=f"{study}.1",
        SOPInstanceUID=f"{study}.1.1",
    )


def index(source: str, bundle: Path, data_dir: Path, studies: int) -> dict[str, float]:
    """Returns the seconds of one command, and of its stages. Raises RuntimeError if it fails."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    settings = {f"{PREFIX}BUNDLE": str(bundle), f"{PREFIX}DATA_DIR": str(data_dir)}
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "index", source],
        env=others | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    events = {}
    for line in done.stderr.splitlines():
        if line.startswith("{"):
            event: dict[str, Any] = json.loads(line)
            events[event["event"]] = event
    if done.returncode or events["indexed"]["studies"] != studies:
        raise RuntimeError(done.stdout + done.stderr)
    opened, end = (
        datetime.fromisoformat(events[each]["timestamp"]) for each in ("ready", "indexed")
    )
    stages = {stage: events["indexed"].get(stage, 0.0) for stage in STAGES}
    return {"seconds": round((end - opened).total_seconds(), 2), **stages}


if __name__ == "__main__":
    typer.run(main)
