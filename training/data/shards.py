"""webdataset shards: tars of PNG images, heatmaps and JSON, that are also arrays read in any order.

A shard holds what the tower sees: images that went through `service.bundle.preprocess`, and
heatmaps that lie on them. Any webdataset reader can stream them; here they are read at random by
the offsets that stand beside each tar, so that a run over shards is the run over the same pairs in
memory.
"""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from tarfile import TarFile
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict
from webdataset import TarWriter

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec
from service.errors import EclipError
from training.data.gaze import Sigma
from training.data.manifest import read_manifest, write_manifest
from training.data.pairs import Pair, Pairs, read_pair
from training.data.splits import split_studies
from training.data.study import DataError, Split, Study
from training.parallel import process_pool

MANIFEST, LAYOUT = "studies.parquet", "shards.json"
STUDIES_A_SHARD = 1024

Span = tuple[int, int]
"""Offset and size of a member in its tar."""


class Layout(BaseModel):
    """shards.json: how the images were prepared, and how many shards there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ImageSpec
    sigma: Sigma | None
    shards: int


class Shard(BaseModel):
    """NNNNNN.json beside NNNNNN.tar: what the tar was made of, its checksum, and its members."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    made_of: str
    """sha256 of the studies and of how they were prepared."""
    sha256: str
    rows: tuple[int, ...]
    """Which of the studies it was given are in it; the others' images could not be read."""
    images: tuple[Span, ...]
    heatmaps: tuple[Span, ...]
    unread: dict[str, int]
    """Why images could not be read: error → how many."""


@dataclass(frozen=True)
class Written:
    """What `write_shards` did."""

    pairs: int
    shards: int
    kept: int
    """Shards that lay there already, whole and of the same studies."""
    unread: Counter[str]


def write_shards(
    studies: Iterable[Study],
    folder: Path,
    destination: Path,
    spec: ImageSpec,
    sigma: Sigma | None,
    on_shard: Callable[[], None] = lambda: None,
) -> Written:
    """Write every study that has an image; one process a core, one shard at a time each.

    Run again after a stop, it verifies the checksums of what is there and writes only what is
    missing, damaged, of other studies, or had images that could not be read.
    """
    destination.mkdir(parents=True, exist_ok=True)
    (destination / LAYOUT).unlink(missing_ok=True)  # unfinished until the last shard is there
    imaged = [study for study in studies if study.images]
    starts = range(0, len(imaged), STUDIES_A_SHARD)
    groups = [imaged[start : start + STUDIES_A_SHARD] for start in starts]
    layout = Layout(spec=spec, sigma=sigma, shards=len(groups))
    write = partial(_ensure_shard, folder, destination, layout)
    shards, kept = [], 0
    with process_pool() as pool:
        for shard, was_there in pool.map(write, count(), groups):
            shards.append(shard)
            kept += was_there
            on_shard()
    stored = [g[row] for shard, g in zip(shards, groups, strict=True) for row in shard.rows]
    write_manifest(destination / MANIFEST, stored)
    _write(destination / LAYOUT, layout.model_dump_json(indent=1).encode())
    unread = sum((Counter(shard.unread) for shard in shards), Counter[str]())
    return Written(len(stored), len(shards), kept, unread)


def shard_pairs(
    folder: Path,
    split: Split,
    fractions: tuple[float, float, float],
    spec: ImageSpec,
    sigma: Sigma | None = None,
) -> Pairs:
    """One split of a folder of shards, as pairs whose images are read when they are asked for.

    Raises DataError when the shards are incomplete, or were made for another input or another
    `sigma` where one is given.
    """
    layout = _read_layout(folder)
    if layout.spec != spec:
        raise DataError(f"{folder.name} was written for another image size or fit; write it again")
    if sigma is not None and layout.sigma != sigma:
        raise DataError(f"{folder.name} was written with sigma {layout.sigma}, not {sigma}")
    shards = [_read_shard(folder / f"{n:06d}.json") for n in range(layout.shards)]
    studies = list(read_manifest(folder / MANIFEST))
    if sum(len(shard.images) for shard in shards) != len(studies):
        raise DataError(f"{folder.name} holds other studies than its manifest; write it again")
    place = {id(study): row for row, study in enumerate(studies)}
    chosen = [s for s in split_studies(studies, fractions)[split] if s.report]
    rows = np.array([place[id(study)] for study in chosen], dtype=np.intp)
    images = StoredImages.of(folder, [shard.images for shard in shards], spec)
    heatmaps = StoredImages.of(folder, [shard.heatmaps for shard in shards], spec)
    return Pairs(
        images.at(rows), tuple(chosen), None if layout.sigma is None else heatmaps.at(rows)
    )


@dataclass(frozen=True)
class StoredImages:
    """Images of shards as an array uint8[N,H,W] that decodes what is indexed. Fork-safe."""

    tars: tuple[Path, ...]
    places: npt.NDArray[np.int64]
    """int64[N,3]: tar, offset, size."""
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, folder: Path, spans: Sequence[Sequence[Span]], spec: ImageSpec) -> Self:
        """All members of one kind, shard by shard."""
        places = [(n, *span) for n, members in enumerate(spans) for span in members]
        tars = tuple(folder / f"{n:06d}.tar" for n in range(len(spans)))
        array = np.array(places, dtype=np.int64).reshape(-1, 3)
        return cls(tars, array, (len(array), spec.height, spec.width))

    def at(self, rows: npt.NDArray[np.intp]) -> Self:
        """The images of some rows, not yet read."""
        return type(self)(self.tars, self.places[rows], (len(rows), *self.shape[1:]))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> UInt8:
        """As numpy indexes its first axis: a number, a slice or an array of numbers."""
        places = self.places[index]
        if places.ndim == 1:
            return self._read(places)
        return np.stack([self._read(place) for place in places])

    def _read(self, place: npt.NDArray[np.int64]) -> UInt8:
        tar, offset, size = place.tolist()
        data = os.pread(_descriptor(self.tars[tar]), size, offset)
        levels: UInt8 = np.asarray(Image.open(io.BytesIO(data)))
        return levels


def _ensure_shard(
    folder: Path, destination: Path, layout: Layout, number: int, studies: Sequence[Study]
) -> tuple[Shard, bool]:
    """The shard, and whether it lay there already."""
    made_of = _digest(layout, studies)
    tar, record = (destination / f"{number:06d}.{kind}" for kind in ("tar", "json"))
    if record.exists() and tar.exists():
        there = _read_shard(record)
        if there.made_of == made_of and not there.unread and there.sha256 == _sha256(tar):
            return there, True
    shard = _write_shard(tar, made_of, number, list(_read_pairs(studies, folder, layout)))
    _write(record, shard.model_dump_json().encode())
    return shard, False


def _read_pairs(
    studies: Sequence[Study], folder: Path, layout: Layout
) -> Iterator[tuple[int, Pair | str]]:
    for row, study in enumerate(studies):
        try:
            yield row, read_pair(folder, study, layout.spec, layout.sigma)
        except (EclipError, OSError) as error:
            yield row, type(error).__name__


def _write_shard(
    tar: Path, made_of: str, number: int, read: Sequence[tuple[int, Pair | str]]
) -> Shard:
    pairs = [(row, pair) for row, pair in read if isinstance(pair, Pair)]
    draft = tar.with_suffix(".part")
    with draft.open("wb") as file:
        with TarWriter(file, mtime=0, encoder=False) as writer:
            for row, pair in pairs:
                writer.write({"__key__": f"{number:06d}{row:06d}"} | _members(pair))
        file.flush()
        os.fsync(file.fileno())
    with TarFile.open(draft) as members:
        spans = [(m.name.partition(".")[2], (m.offset_data, m.size)) for m in members]
    shard = Shard(
        made_of=made_of,
        sha256=_sha256(draft),
        rows=tuple(row for row, _ in pairs),
        images=tuple(span for name, span in spans if name == "image.png"),
        heatmaps=tuple(span for name, span in spans if name == "heatmap.png"),
        unread=Counter(pair for _, pair in read if isinstance(pair, str)),
    )
    draft.replace(tar)
    return shard


def _members(pair: Pair) -> dict[str, bytes]:
    """The files of one sample by their endings."""
    study = pair.study
    facts = {"study_id": study.study_id, "findings": study.findings, "view": study.view}
    members = {
        "image.png": _png(pair.image),
        "json": json.dumps(facts, ensure_ascii=False).encode(),
        "txt": study.report.encode(),
    }
    return members if pair.heatmap is None else members | {"heatmap.png": _png(pair.heatmap)}


def _png(levels: UInt8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _digest(layout: Layout, studies: Sequence[Study]) -> str:
    whole = hashlib.sha256(layout.model_dump_json(exclude={"shards"}).encode())
    for study in studies:
        whole.update(repr(study).encode())
    return whole.hexdigest()


def _read_layout(folder: Path) -> Layout:
    path = folder / LAYOUT
    if not path.exists():
        raise DataError(f"{folder.name} holds no finished shards; run `eclip-train shards` again")
    return Layout.model_validate_json(path.read_bytes())


def _read_shard(record: Path) -> Shard:
    return Shard.model_validate_json(record.read_bytes())


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".part")
    draft.write_bytes(data)
    draft.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _descriptor(path: Path) -> int:
    """Opened once; `pread` moves no position, so forked readers may share it."""
    return os.open(path, os.O_RDONLY)
