"""Measures whether a threshold on nearness would refuse images that are no radiographs.

`python -m tests.benchmarks.nearness` searches the demo library for the cases nearest to new
phantoms, and to other images: phantoms upside down, on their side or inverted, noise, photographs,
and, with STUDIES, real radiographs, which the demo model has never seen. It prints the median
cosine to the nearest report and to the nearest image, and the share of each kind below the
phantoms' fifth percentile: a threshold there refuses one in twenty phantoms, and that share of the
kind. Files that the service refuses anyway are not counted.
"""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

from service.cases.ingest import ingest
from service.cases.library import Query
from service.cases.records import NewStudy
from service.cases.schema import NOBODY, Part
from service.cases.sources import open_source
from service.deadline import Deadline
from service.settings import DEMO_LIBRARY, Settings
from service.wiring import open_services
from tests.benchmarks.reporting import PATIENCE_S, UNSEEN_SEED
from training.data.phantom import PhantomConfig, phantom

TARGETS: tuple[Part, ...] = ("report", "image")
OWN = "new phantoms"
PHANTOMS, STRANGERS = 200, 50
REFUSED = 0.05


def main(
    studies: Annotated[Path | None, typer.Argument(exists=True, help="studies.jsonl")] = None,
) -> None:
    """Prints the table."""
    with TemporaryDirectory() as scratch, open_services(Settings(data_dir=Path(scratch))) as wired:
        ingest(wired.library, open_source(DEMO_LIBRARY).entries)

        def nearest(files: Sequence[bytes]) -> dict[Part, npt.NDArray[np.float64]]:
            encoded = wired.encoder.images(files, Deadline(PATIENCE_S))
            vectors = [one.vector for one in encoded if not isinstance(one, Exception)]
            return {
                target: np.array(
                    [
                        wired.library.search(vector, Query(target, 1, NOBODY))[0].score
                        for vector in vectors
                    ]
                )
                for target in TARGETS
            }

        scores = {name: nearest(files) for name, files in kinds(studies)}
    titles = [f"nearest {target}, {what}" for target in TARGETS for what in ("median", "refused")]
    table = Table("images", "number", *titles)
    floors = {target: np.quantile(scores[OWN][target], REFUSED) for target in TARGETS}
    for name, found in scores.items():
        figures = [
            figure
            for target in TARGETS
            for figure in (np.median(found[target]), (found[target] < floors[target]).mean())
        ]
        table.add_row(name, str(len(found["report"])), *(f"{figure:.2f}" for figure in figures))
    Console().print(table)


def kinds(studies: Path | None) -> Iterator[tuple[str, list[bytes]]]:
    """Yields each kind of image, new phantoms first, with its files."""
    own = [phantom(PhantomConfig(seed=UNSEEN_SEED), number).image for number in range(PHANTOMS)]
    yield OWN, [_png(one) for one in own]
    yield "upside down", [_png(one[::-1]) for one in own[:STRANGERS]]
    yield "on their side", [_png(np.rot90(one)) for one in own[:STRANGERS]]
    yield "inverted", [_png(255 - one) for one in own[:STRANGERS]]
    random = np.random.default_rng(UNSEEN_SEED)
    yield "noise", [_png(random.integers(0, 256, own[0].shape)) for _ in range(STRANGERS)]
    yield "photographs", [_png(one.mean(axis=-1)) for one in load_sample_images().images]
    if studies:
        taken = (one.study for one in open_source(studies).entries)
        real = (one.images[0] for one in taken if isinstance(one, NewStudy) and one.images)
        yield "real radiographs", [*islice(real, STRANGERS)]


def _png(levels: npt.NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    typer.run(main)
