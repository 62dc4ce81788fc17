"""Measures how fast studies are indexed, compared with the bare encoder on the same studies.

`python -m tests.benchmarks.indexing` takes turns between (a) the encoder alone on the demo
library's 240 studies, in the batches that indexing makes, (b) the functions of `eclip index`, into
an empty library on this disk, and (c) the same with one and with two encoders of a core each on a
local Ray cluster. Every run has a new encoder, so no cache helps. It prints medians of studies a
second, and their ratios. `--vit` takes a ViT-B-32 with random weights, in int8, instead of the
demo's model, which is so small that everything else takes long in comparison.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from service.cases.ingest import AT_ONCE, BATCH, ingest
from service.cases.library import CaseLibrary
from service.cases.passages import split_report
from service.cases.records import NewStudy
from service.cases.renditions import RENDITION_SIDE
from service.cases.sources import Entry, open_source
from service.deadline import Deadline
from service.inference.encoder import Encoder
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY, Settings
from service.wiring import open_library_on_ray, open_services
from tests.benchmarks.serving import make_model

PATIENCE_S = 600.0


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    repeats: Annotated[int, typer.Option(min=1, help="Of the demo's studies, as new ones")] = 4,
    vit: Annotated[bool, typer.Option("--vit", help="A ViT-B-32 instead of the demo")] = False,
) -> None:
    """Prints the medians over the rounds."""
    studies = [study for again in range(repeats) for study in demo_studies(again)]
    kinds: dict[str, Callable[[Settings, list[NewStudy]], float]] = {
        "bare encoder": bare,
        "indexing": indexed,
        "Ray, one encoder": partial(indexed_on_ray, encoders=1),
        "Ray, two encoders": partial(indexed_on_ray, encoders=2),
    }
    seconds = defaultdict(list)
    with tempfile.TemporaryDirectory() as models:
        bundle = make_model(Path(models))[0].path if vit else DEMO_BUNDLE
        for _ in range(rounds):
            for kind, run in kinds.items():
                with tempfile.TemporaryDirectory() as scratch:
                    settings = Settings(bundle=bundle, data_dir=Path(scratch))
                    seconds[kind].append(run(settings, studies))
    rates = {kind: len(studies) / median(taken) for kind, taken in seconds.items()}
    for kind, rate in rates.items():
        typer.echo(f"{kind:18} {rate:6.1f} studies a second, {rate / rates['bare encoder']:.2f}")
    typer.echo(f"two encoders: {rates['Ray, two encoders'] / rates['Ray, one encoder']:.2f} of one")


def demo_studies(again: int) -> list[NewStudy]:
    """Returns the demo library's studies under new ids, with new reports."""
    entries = open_source(DEMO_LIBRARY).entries
    return [
        NewStudy(
            f"{again}-{entry.study.study_id}",
            entry.study.record.model_copy(
                update={"report": f"{entry.study.record.report} Study {again}."}
            ),
            entry.study.images,
        )
        for entry in entries
        if isinstance(entry.study, NewStudy)
    ]


def bare(settings: Settings, studies: list[NewStudy]) -> float:
    """Measures the encoder alone, with as many batches at once as indexing has."""
    batches = [studies[start : start + BATCH] for start in range(0, len(studies), BATCH)]
    with open_services(settings) as wired, ThreadPoolExecutor(AT_ONCE) as pool:
        start = time.perf_counter()
        list(pool.map(lambda batch: encode(wired.encoder, batch), batches))
        return time.perf_counter() - start


def encode(encoder: Encoder, batch: list[NewStudy]) -> None:
    """Encodes all images of a batch, then all texts."""
    deadline = Deadline(PATIENCE_S, bulk=True)
    images = [image for study in batch for image in study.images]
    encoder.radiographs(images, deadline, RENDITION_SIDE)
    reports = [study.record.report or "" for study in batch]
    passages = [p.text for report in reports for p in split_report(report, "")]
    encoder.texts(reports + passages, deadline)


def indexed(settings: Settings, studies: list[NewStudy]) -> float:
    """Measures a whole library with this process's encoder."""
    with open_services(settings) as wired:
        return ingested(wired.library, studies, AT_ONCE)


def indexed_on_ray(settings: Settings, studies: list[NewStudy], encoders: int) -> float:
    """Measures a whole library with encoders that are already started."""
    one_core = settings.model_copy(update={"cores": 1})
    with open_library_on_ray(one_core, "local", encoders, gpus=0) as library:
        return ingested(library, studies, AT_ONCE * encoders)


def ingested(library: CaseLibrary, studies: list[NewStudy], at_once: int) -> float:
    """Seconds, once all of them are stored."""
    start = time.perf_counter()
    outcome = ingest(library, (Entry("", study) for study in studies), at_once=at_once)
    assert outcome.stored == len(studies), outcome.rejected[:3]
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
