"""Writes and reads shards: webdataset tars of preprocessed images, heatmaps and reports.

A shard holds what the tower sees: images that went through `service.bundle.preprocess`, and the
heatmaps that lie on them. Any webdataset reader can stream the tars. Training reads single images
by the offsets in the JSON file next to each tar, so a run over shards equals the run over the same
pairs in memory.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.arrays import UInt8
from service.bundle.preprocess import ImageSpec
from service.files import remove_drafts, write_atomically, written_atomically
from training.data.gaze import Sigma
from training.data.manifest import read_manifest, write_manifest
from training.data.pairs import Pair, Pairs
from training.data.parallel import process_pool
from training.data.reading import ImageUnreadable, read_pair, usable
from training.data.shard_index import LAYOUT, Shard, ShardLayout, Span, read_index, read_layout
from training.data.splits import split_studies
from training.data.study import DataError, ManifestStudy, Split, record_of

MANIFEST = "studies.parquet"
STUDIES_A_SHARD = 1024
"""Studies: the most that one shard holds."""
_IN_OTHER_FILES = frozenset({"images", "report", "gaze"})
"""Fields that a shard's JSON leaves to its images, text and heatmap."""


@dataclass(frozen=True)
class Written:
    """The outcome of `write_shards`."""

    pairs: int
    shards: int
    kept: int
    """Shards from an earlier call, undamaged and of the same studies."""
    unread: dict[str, str]
    """Images that could not be read: path → why."""


def write_shards(
    studies: Iterable[ManifestStudy],
    folder: Path,
    destination: Path,
    spec: ImageSpec,
    sigma: Sigma | None,
    on_shard: Callable[[], None] = lambda: None,
) -> Written:
    """Writes every study whose image can be read, with one process a core.

    A second call resumes the first: it verifies the checksums of finished shards and writes only
    those that are missing, damaged, made of other studies, or lack images that could not be read.
    folder: the folder or tar that holds the images. on_shard: called after each shard.
    """
    destination.mkdir(parents=True, exist_ok=True)
    (destination / LAYOUT).unlink(missing_ok=True)  # there again once the last shard is
    imaged = [study for study in studies if study.images]
    starts = range(0, len(imaged), STUDIES_A_SHARD)
    groups = [imaged[start : start + STUDIES_A_SHARD] for start in starts]
    layout = ShardLayout(spec=spec, sigma=sigma, shards=len(groups))
    write = partial(_ensure_shard, folder, destination, layout)
    shards, kept = [], 0
    with process_pool() as pool:
        for shard, was_there in pool.map(write, count(), groups):
            shards.append(shard)
            kept += was_there
            on_shard()
    stored = [g[row] for shard, g in zip(shards, groups, strict=True) for row in shard.rows]
    write_manifest(destination / MANIFEST, stored)
    remove_drafts(destination / LAYOUT)
    write_atomically(destination / LAYOUT, layout.model_dump_json(indent=1).encode())
    unread = {image: reason for shard in shards for image, reason in shard.unread.items()}
    return Written(len(stored), len(shards), kept, unread)


def open_shards(
    folder: Path,
    fractions: tuple[float, float, float],
    spec: ImageSpec,
    sigma: Sigma | None = None,
) -> Callable[[Split], Pairs]:
    """Reads the index of a folder of shards; returns what gives the pairs of a split.

    Their images are decoded when they are indexed. Raises DataError if the shards are incomplete,
    or were written for another `spec` or, where one is given, another `sigma`.
    """
    layout = read_layout(folder)
    if layout.spec != spec:
        raise DataError(
            f"{folder.name} was written for another image size or fit; run `eclip-train shards` "
            "for this recipe"
        )
    if sigma is not None and layout.sigma != sigma:
        raise DataError(
            f"{folder.name} was written with sigma {layout.sigma}, not {sigma}; set expert.sigma, "
            "or run `eclip-train shards` for this recipe"
        )
    shards = [read_index(Shard, folder / f"{n:06d}.json") for n in range(layout.shards)]
    studies = list(read_manifest(folder / MANIFEST))
    if sum(len(shard.images) for shard in shards) != len(studies):
        raise DataError(
            f"{folder.name} holds other studies than its manifest; run `eclip-train shards` again"
        )
    splits = split_studies(studies, fractions)
    place = {id(study): row for row, study in enumerate(studies)}
    images = StoredImages.of(folder, [shard.images for shard in shards], spec)
    heatmaps = StoredImages.of(folder, [shard.heatmaps for shard in shards], spec)

    def read(split: Split) -> Pairs:
        chosen = tuple(usable(splits[split], split))
        rows = np.array([place[id(study)] for study in chosen], dtype=np.intp)
        return Pairs(images.at(rows), chosen, None if layout.sigma is None else heatmaps.at(rows))

    return read


@dataclass(frozen=True)
class StoredImages:
    """The images of shards as an array uint8[N,H,W] that decodes what is indexed. Fork-safe."""

    tars: tuple[Path, ...]
    places: npt.NDArray[np.int64]
    """int64[N,3]: tar, offset, size."""
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, folder: Path, spans: Sequence[Sequence[Span]], spec: ImageSpec) -> Self:
        """Returns all members of one kind, shard by shard."""
        places = [(n, *span) for n, members in enumerate(spans) for span in members]
        tars = tuple(folder / f"{n:06d}.tar" for n in range(len(spans)))
        array = np.array(places, dtype=np.int64).reshape(-1, 3)
        return cls(tars, array, (len(array), spec.height, spec.width))

    def at(self, rows: npt.NDArray[np.intp]) -> Self:
        """Returns the images of some rows, not yet read."""
        return type(self)(self.tars, self.places[rows], (len(rows), *self.shape[1:]))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> UInt8:
        """Decodes what numpy would index on its first axis: by a number, a slice or an array."""
        places = self.places[index]
        if places.ndim == 1:
            return self._read(places)
        return np.stack([self._read(place) for place in places])

    def _read(self, place: npt.NDArray[np.int64]) -> UInt8:
        tar, offset, size = place.tolist()
        data = os.pread(_descriptor(self.tars[tar]), size, offset)
        try:
            levels: UInt8 = np.asarray(Image.open(io.BytesIO(data)))
        except (OSError, SyntaxError) as error:
            raise DataError(
                f"{self.tars[tar].name} is damaged at byte {offset}; run `eclip-train shards` again"
            ) from error
        return levels


def _ensure_shard(
    folder: Path,
    destination: Path,
    layout: ShardLayout,
    number: int,
    studies: Sequence[ManifestStudy],
) -> tuple[Shard, bool]:
    """Returns the shard, and whether an earlier call had written it."""
    made_of = _digest(layout, studies)
    tar, record = (destination / f"{number:06d}.{kind}" for kind in ("tar", "json"))
    for path in (tar, record):
        remove_drafts(path)
    if record.exists() and tar.exists():
        there = read_index(Shard, record)
        if there.made_of == made_of and not there.unread and there.sha256 == _sha256(tar):
            return there, True
    shard = _write_shard(tar, made_of, number, list(_read_pairs(studies, folder, layout)))
    write_atomically(record, shard.model_dump_json().encode())
    return shard, False


def _read_pairs(
    studies: Sequence[ManifestStudy], folder: Path, layout: ShardLayout
) -> Iterator[tuple[int, Pair | ImageUnreadable]]:
    for row, study in enumerate(studies):
        try:
            yield row, read_pair(folder, study, layout.spec, layout.sigma)
        except ImageUnreadable as error:
            yield row, error


def _write_shard(
    tar: Path, made_of: str, number: int, read: Sequence[tuple[int, Pair | ImageUnreadable]]
) -> Shard:
    pairs = [(row, pair) for row, pair in read if isinstance(pair, Pair)]
    with written_atomically(tar) as draft:
        with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
            for row, pair in pairs:
                for ending, data in sorted(_members(pair).items()):
                    member = tarfile.TarInfo(f"{number:06d}{row:06d}.{ending}")
                    member.size, member.mode = len(data), 0o444
                    archive.addfile(member, io.BytesIO(data))
        with tarfile.open(draft) as archive:
            spans = [(m.name.partition(".")[2], (m.offset_data, m.size)) for m in archive]
        return Shard(
            made_of=made_of,
            sha256=_sha256(draft),
            rows=tuple(row for row, _ in pairs),
            images=tuple(span for name, span in spans if name == "image.png"),
            heatmaps=tuple(span for name, span in spans if name == "heatmap.png"),
            unread={
                each.image: each.reason for _, each in read if isinstance(each, ImageUnreadable)
            },
        )


def _members(pair: Pair) -> dict[str, bytes]:
    """Returns the files of one webdataset sample, by their endings."""
    record = record_of(pair.study)
    facts = {name: value for name, value in record.items() if name not in _IN_OTHER_FILES}
    members = {
        "image.png": _png(pair.image),
        "json": json.dumps(facts, ensure_ascii=False).encode(),
        "txt": pair.study.report.encode(),
    }
    return members if pair.heatmap is None else members | {"heatmap.png": _png(pair.heatmap)}


def _png(levels: UInt8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _digest(layout: ShardLayout, studies: Sequence[ManifestStudy]) -> str:
    whole = hashlib.sha256(layout.model_dump_json(exclude={"shards"}).encode())
    for study in studies:
        # Version 0.1 called the class `Study`, and its shards are still good.
        whole.update(f"Study({repr(study).partition('(')[2]}".encode())
    return whole.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _descriptor(path: Path) -> int:
    """Opens a file once. `pread` moves no position, so forked readers may share the descriptor."""
    return os.open(path, os.O_RDONLY)
