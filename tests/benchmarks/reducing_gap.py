"""Measures what a bundle's reducing gap saves on full-size radiographs, and what it changes.

`python -m tests.benchmarks.reducing_gap` decodes and preprocesses phantoms of 2048×2500 pixels with
film grain, with no gap and with two: as a JPEG, and as DICOM in every transfer syntax of
`tests.support.archive`. It prints milliseconds for an input of 224 pixels (medians of interleaved
rounds, one image at a time), the mean and the greatest difference of that input in gray levels,
and the lowest cosine of the demo bundle's embedding with that of the exact input.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from statistics import median

import numpy as np
import onnxruntime
import typer
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from service.bundle.manifest import IMAGE_TOWER, load
from service.bundle.preprocess import ImageSpec
from service.errors import ImageUnsupported
from service.imaging.decode import ImageLimits, decode
from service.settings import DEMO_BUNDLE
from tests.service.imaging.conftest import picture
from tests.support.archive import JPEG_XL_FROM_JPEG, SYNTAXES, archived
from training.data.phantom import PhantomConfig, phantom

SIZE, GRAIN = (2500, 2048), 4.0
GAPS = (None, 3.0, 2.0)
ROUNDS, PHANTOMS = 5, 2
TOWER = ImageSpec(height=224, width=224)


def main() -> None:
    """Prints a row for each kind and gap."""
    typer.echo(f"{'kind':30} {'gap':>4} {'ms':>6} {'mean':>5} {'most':>4} {'cosine':>7}")
    for kind, images in radiographs():
        try:
            show(kind, images)
        except ImageUnsupported as error:
            typer.echo(f"{kind:30} {error.detail}")


def show(kind: str, images: list[bytes]) -> None:
    """Prints the rows of one kind."""
    spent = defaultdict(list)
    for _ in range(ROUNDS):
        for data in images:
            for gap in GAPS:
                start = time.perf_counter()
                prepared(data, TOWER, gap)
                spent[gap].append(1000 * (time.perf_counter() - start))
    own = load(DEMO_BUNDLE).manifest.image
    exact = np.stack([prepared(data, TOWER, None) for data in images])
    vectors = embed(np.stack([prepared(data, own, None) for data in images]))
    for gap in GAPS:
        fast = np.stack([prepared(data, TOWER, gap) for data in images])
        differ = np.abs(exact.astype(int) - fast)
        nearly = embed(np.stack([prepared(data, own, gap) for data in images]))
        cosine = (vectors * nearly).sum(axis=1).min()
        typer.echo(
            f"{kind:30} {gap or '-'!s:>4} {median(spent[gap]):6.1f} {differ.mean():5.2f} "
            f"{differ.max():4} {cosine:7.4f}"
        )


def prepared(data: bytes, spec: ImageSpec, gap: float | None) -> np.ndarray:
    """Returns the tower's input with this gap."""
    spec = spec.model_copy(update={"reducing_gap": gap})
    return decode(data, ImageLimits(), spec).prepared(spec)


def radiographs() -> Iterator[tuple[str, list[bytes]]]:
    """Yields the same images, in files of each kind."""
    images = []
    for index in range(PHANTOMS):
        rng = np.random.default_rng(index)
        drawn = Image.fromarray(phantom(PhantomConfig(size=512), index).image).resize(SIZE)
        images.append(np.clip(np.asarray(drawn) + rng.normal(0, GRAIN, SIZE[::-1]), 0, 255))
    yield (
        "JPEG",
        [picture(Image.fromarray(each.astype(np.uint8)), "JPEG", quality=92) for each in images],
    )
    for syntax in SYNTAXES:
        top = 256 if syntax in {JPEGBaseline8Bit, JPEG_XL_FROM_JPEG} else 4096
        window = {"WindowCenter": top // 2, "WindowWidth": top * 7 // 8}
        yield (
            syntax.name[:30],
            [archived(syntax, (each * 16).astype(np.uint16), **window) for each in images],
        )


@cache
def tower() -> onnxruntime.InferenceSession:
    """Returns the demo's image tower."""
    return onnxruntime.InferenceSession(load(DEMO_BUNDLE).path / IMAGE_TOWER)


def embed(pixels: np.ndarray) -> np.ndarray:
    """Embeds uint8[N,H,W] as float32[N,D]."""
    embedding: np.ndarray = tower().run(["embedding"], {"pixels": pixels})[0]
    return embedding


if __name__ == "__main__":
    main()
