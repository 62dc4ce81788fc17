"""bundle.json: what a bundle is, what is in it, and the proof that nothing changed.

A bundle's identity is the sha256 of its bundle.json with the id's own 64 digits read as zeros,
so the file vouches for itself, and it holds the sha256 of every other file.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, ValidationError

from service.bundle.labels import LabelSets
from service.bundle.preprocess import ImageSpec
from service.bundle.tokenizer import Tokenizer
from service.errors import BundleCorrupt

MANIFEST = "bundle.json"
IMAGE_TOWER = "image.onnx"
TEXT_TOWER = "text.onnx"
TOKENIZER = "tokenizer.json"
LABELS = "labels.json"
MODEL_CARD = "MODEL_CARD.md"
INT8 = {IMAGE_TOWER: "image.int8.onnx", TEXT_TOWER: "text.int8.onnx"}
REQUIRED = (IMAGE_TOWER, TEXT_TOWER, TOKENIZER, LABELS, MODEL_CARD)
_UNSEALED = "0" * 64

Precision = Literal["fp32", "int8"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Frozen):
    """One file of the bundle."""

    sha256: Sha256
    bytes: int


class Golden(_Frozen):
    """What the towers answered at export, for a self-test before the first request.

    The image is `golden_pixels`; embeddings are base64 of little-endian float32[D].
    """

    text: str
    image_embedding: str
    text_embedding: str

    @classmethod
    def of(
        cls, text: str, image: npt.NDArray[np.float32], text_vector: npt.NDArray[np.float32]
    ) -> Self:
        """Pack the two float32[D] answers."""
        return cls(
            text=text, image_embedding=pack_vector(image), text_embedding=pack_vector(text_vector)
        )

    def image_vector(self) -> npt.NDArray[np.float32]:
        """float32[D]."""
        return unpack_vector(self.image_embedding)

    def text_vector(self) -> npt.NDArray[np.float32]:
        """float32[D]."""
        return unpack_vector(self.text_embedding)


class Int8(_Frozen):
    """The towers in int8, and what that changed on validation studies.

    overlap_at_10: mean share of the ten nearest that are the same, both ways of search.
    decisions: share of zero-shot calls that are the same.
    """

    golden: Golden
    studies: PositiveInt
    overlap_at_10: Annotated[float, Field(ge=0, le=1)]
    decisions: Annotated[float, Field(ge=0, le=1)]


class Manifest(_Frozen):
    """The content of bundle.json."""

    format: Literal[1] = 1
    id: Sha256 = _UNSEALED
    name: Annotated[str, Field(min_length=1, max_length=128)]
    version: Annotated[str, Field(min_length=1, max_length=32)]
    dimension: PositiveInt
    image: ImageSpec
    context_length: PositiveInt
    patch_grid: tuple[PositiveInt, PositiveInt] | None
    """Rows and columns of `patches`; None when the image tower yields none."""
    logit_scale: float
    """The learned factor on cosines (already exponentiated)."""
    logit_bias: float
    """SigLIP's bias; 0 for softmax-trained models."""
    golden: Golden
    image_mean: str | None = None
    """Mean image embedding of the validation studies, packed as the golden ones are."""
    int8: Int8 | None = None
    """Graphs that were admitted at export beside those in fp32."""
    metrics: dict[str, float]
    provenance: dict[str, JsonValue]
    """How the bundle was made: source model, data, seed, code and library versions."""
    files: dict[FileName, FileEntry] = {}


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    path: Path
    manifest: Manifest

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer."""
        return Tokenizer.load(self.path / TOKENIZER, self.manifest.context_length)

    @cached_property
    def label_sets(self) -> LabelSets:
        """The label sets with their prompts and calibration."""
        return LabelSets.model_validate_json((self.path / LABELS).read_bytes())

    @property
    def model_card(self) -> str:
        """Markdown."""
        return (self.path / MODEL_CARD).read_text(encoding="utf-8")


def golden_pixels(spec: ImageSpec) -> npt.NDArray[np.uint8]:
    """The fixed self-test input, uint8[1,H,W]: a diagonal ramp, the same for every bundle."""
    rows, columns = np.indices((spec.height, spec.width))
    return ((rows * 3 + columns * 5) % 256).astype(np.uint8)[np.newaxis]


def seal(directory: Path, manifest: Manifest) -> Bundle:
    """Hash the files in `directory`, write bundle.json, and return the verified bundle."""
    files = {
        path.name: FileEntry(sha256=_sha256(path), bytes=path.stat().st_size)
        for path in sorted(directory.iterdir())
        if path.name != MANIFEST
    }
    unsealed = manifest.model_copy(update={"files": files, "id": _UNSEALED})
    text = json.dumps(unsealed.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    identity = hashlib.sha256(text.encode()).hexdigest()
    sealed = text.replace(f'"id": "{_UNSEALED}"', f'"id": "{identity}"', 1)
    (directory / MANIFEST).write_text(sealed, encoding="utf-8")
    return load(directory)


def load(directory: Path) -> Bundle:
    """Read and verify a bundle; raises BundleCorrupt naming the first file that differs."""
    manifest = _read_manifest(directory / MANIFEST)
    for name in (*REQUIRED, *(INT8.values() if manifest.int8 else ())):
        if name not in manifest.files:
            raise BundleCorrupt(f"{MANIFEST} lists no {name}. Export the bundle again.")
    for name, entry in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleCorrupt(f"{name} is missing from the bundle. Copy or export it again.")
        if _sha256(path) != entry.sha256:
            raise BundleCorrupt(
                f"{name} is not the file that {MANIFEST} records (sha256 differs). "
                "Copy or export the bundle again."
            )
    return Bundle(directory, manifest)


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleCorrupt(f"{MANIFEST} cannot be read: {error.strerror}.") from error
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file"
        raise BundleCorrupt(f"{MANIFEST} is not a manifest of format 1 (at {where}).") from error
    unsealed = raw.replace(f'"{manifest.id}"'.encode(), f'"{_UNSEALED}"'.encode(), 1)
    if hashlib.sha256(unsealed).hexdigest() != manifest.id:
        raise BundleCorrupt(f"{MANIFEST} was changed after it was sealed. Export the bundle again.")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack_vector(vector: npt.NDArray[np.float32]) -> str:
    """float32[D] → base64 of its little-endian bytes."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def unpack_vector(packed: str) -> npt.NDArray[np.float32]:
    """The float32[D] that `pack_vector` packed."""
    return np.frombuffer(base64.b64decode(packed), dtype="<f4").astype(np.float32)
