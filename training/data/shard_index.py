"""Defines the indexes of a folder of shards, shards.json and NNNNNN.json, and reads them."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from service.bundle.preprocess import ImageSpec
from training.data.gaze import Sigma
from training.data.study import DataError

LAYOUT = "shards.json"
Span = tuple[int, int]
"""Offset and size of a member in its tar, in bytes."""


class ShardLayout(BaseModel):
    """shards.json: how the images were prepared, and how many shards there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: ImageSpec
    sigma: Sigma | None
    shards: int


class Shard(BaseModel):
    """NNNNNN.json, the index of NNNNNN.tar: what it was made of, its checksum, its members."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    made_of: str
    """sha256 of the studies and of how their images were prepared."""
    sha256: str
    rows: tuple[int, ...]
    """Which of the given studies are in the tar; the others' images could not be read."""
    images: tuple[Span, ...]
    heatmaps: tuple[Span, ...]
    unread: dict[str, str]
    """Images that could not be read: path → why. Version 0.1 counted them: error → how many."""


Index = TypeVar("Index", ShardLayout, Shard)


def read_layout(folder: Path) -> ShardLayout:
    """Reads a folder's shards.json. Raises DataError if it is missing or damaged."""
    path = folder / LAYOUT
    if not path.exists():
        raise DataError(f"{folder.name} holds no finished shards; run `eclip-train shards` again")
    return read_index(ShardLayout, path)


def read_index(kind: type[Index], path: Path) -> Index:
    """Reads an index. Raises DataError, with what to do, if the file is not one."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"cannot read {path.parent.name}/{path.name}: it is damaged, or not an index of "
            "shards. Delete it and run `eclip-train shards` again"
        ) from error
