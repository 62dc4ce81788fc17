"""The `data` section of a recipe: where training's image–report pairs come from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from training.data.phantom import Reader


class FrozenSpec(BaseModel):
    """A section of a recipe: it cannot be changed, and it refuses keys that it does not know.

    Its numbers are finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _sum_to_one(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError("train, validation and test must be non-negative and sum to 1")
    return fractions


Fractions = Annotated[tuple[float, float, float], AfterValidator(_sum_to_one)]
"""Fractions of the patients in train, validation and test, where no split is published."""


class PairData(FrozenSpec):
    """What every kind of data has."""

    augment: bool = False
    """Crop, turn and expose each image slightly differently at each step, its heatmap alike."""


class PhantomData(PairData):
    """Phantoms that are rendered for the run. Each split has its own patients."""

    source: Literal["phantom"]
    train: PositiveInt
    """Training studies; `validation` and `test` count theirs."""
    validation: Annotated[int, Field(ge=0)]
    test: PositiveInt
    size: PositiveInt
    """Pixels a side, before preprocessing."""
    seed: int
    contrast: PositiveFloat = 1.0
    """Factor on the density of local findings: lower is harder to see."""
    reader: Reader = "simulated"
    """Whose gaze they carry: a reader's who surveys the film evenly, or one's who moves as a real
    radiologist did (`measured`). Nothing else of a phantom changes."""
    cache: Path | None = None
    """Folder in which several runs share rendered phantoms. None: each run keeps its own."""


class ManifestData(PairData):
    """The studies of a manifest (`studies.parquet` or `studies.jsonl`), split by patient.

    Image paths are absolute, or relative to the manifest's folder.
    """

    source: Literal["manifest"]
    path: Path
    fractions: Fractions = (0.8, 0.0, 0.2)


class ShardData(PairData):
    """A folder of shards that `eclip-train shards` wrote for the recipe's model."""

    source: Literal["shards"]
    path: Path
    fractions: Fractions = (0.8, 0.0, 0.2)


DATA_KINDS: dict[str, type[PairData]] = {
    "phantom": PhantomData,
    "manifest": ManifestData,
    "shards": ShardData,
}
DataSpec = Annotated[PhantomData | ManifestData | ShardData, Field(discriminator="source")]
