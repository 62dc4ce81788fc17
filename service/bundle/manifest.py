"""Reads, verifies and seals bundle.json, which says what a bundle is and what it holds.

A bundle's id is the sha256 of its bundle.json, with the 64 digits of the id itself read as zeros.
The file records the sha256 of every other file, so that the id covers the whole bundle.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PositiveInt,
    ValidationError,
    model_validator,
)

from service.bundle.gate import Gate
from service.bundle.golden import Golden
from service.bundle.labels import LabelSets
from service.bundle.maps import MapChange, MapKind, MapQuality, PatchKind
from service.bundle.preprocess import ImageSpec
from service.bundle.scoring import Scorer, ScoringKind
from service.bundle.tokenizer import Tokenizer
from service.errors import BundleCorrupt, TextUnavailable

MANIFEST = "bundle.json"
IMAGE_TOWER = "image.onnx"
TEXT_TOWER = "text.onnx"
TOKENIZER = "tokenizer.json"
LABELS = "labels.json"
MODEL_CARD = "MODEL_CARD.md"
GATE = "gate.json"
"""The gate, in bundles that have one."""
INT8 = {IMAGE_TOWER: "image.int8.onnx", TEXT_TOWER: "text.int8.onnx"}
"""A tower's file in fp32 → its file in int8."""
REQUIRED = (IMAGE_TOWER, LABELS, MODEL_CARD)
"""Files that every bundle has."""
OF_TEXT = (TEXT_TOWER, TOKENIZER)
"""Files of a bundle that encodes texts."""
_UNSEALED = "0" * 64
"""The id of a manifest that has not been sealed."""

Precision = Literal["fp32", "int8"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Frozen):
    """A file of the bundle: the sha256 of its content, and its size in bytes."""

    sha256: Sha256
    bytes: int


class Int8(_Frozen):
    """The towers in int8, and how they compare with fp32 on validation studies.

    studies: how many were compared. overlap_at_10: mean fraction of the ten nearest that are the
    same, over searches from image to text and from text to image. decisions: fraction of zero-shot
    calls that are the same. maps: the change of each kind of map; {} if they were not compared.
    """

    golden: Golden
    studies: PositiveInt
    overlap_at_10: Annotated[float, Field(ge=0, le=1)]
    decisions: Annotated[float, Field(ge=0, le=1)]
    maps: dict[MapKind, MapChange] = {}


class Manifest(_Frozen):
    """The content of bundle.json.

    Format 1 knew no kind of patches but the last tokens, and no attention. Format 2 knew no scoring
    but softmax, and no bundle without texts.
    """

    format: Literal[1, 2, 3] = 3
    id: Sha256 = _UNSEALED
    name: Annotated[str, Field(min_length=1, max_length=128)]
    version: Annotated[str, Field(min_length=1, max_length=32)]
    dimension: PositiveInt
    image: ImageSpec
    has_text: bool = True
    """Whether the bundle encodes texts. Without, it has no text tower, tokenizer or label set."""
    context_length: PositiveInt | None
    """Tokens that the text tower reads; None without one."""
    patch_grid: tuple[PositiveInt, PositiveInt] | None
    """Rows and columns of the patches and the attention; None if the tower gives neither."""
    patches: PatchKind | None = None
    """What the output `patches` holds; None if the image tower has no such output."""
    has_attention: bool = False
    """Whether the image tower has the output `attention`."""
    map_quality: dict[MapKind, MapQuality] = {}
    """What the maps were measured to be; without, a map was never measured."""
    logit_scale: float
    """The learned factor on cosines, already exponentiated."""
    logit_bias: float
    """The learned number that a sigmoid-trained model (SigLIP) adds; 0 for others."""
    scoring: ScoringKind = "softmax"
    """How labels are scored: see `service.bundle.scoring.Scorer`."""
    golden: Golden
    image_mean: str | None = None
    """Mean image embedding of the validation studies, packed by `pack_vector`."""
    int8: Int8 | None = None
    """The int8 graphs, if the export made them and found them close enough to fp32."""
    metrics: dict[str, float]
    provenance: dict[str, JsonValue]
    """How the bundle was made: source model, data, seed, code and library versions."""
    files: dict[FileName, FileEntry] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_format_1(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("format") == 1 and content.get("patch_grid"):
            return {"patches": "last_token"} | content
        return content

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        if (self.patch_grid is not None) != (self.has_attention or self.patches is not None):
            raise ValueError("patch_grid is given if and only if there are patches or attention")
        return self

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        goldens = [self.golden] if self.int8 is None else [self.golden, self.int8.golden]
        of_text = (value for each in goldens for value in (each.text, each.text_embedding))
        if any((value is not None) != self.has_text for value in (self.context_length, *of_text)):
            raise ValueError("context_length and golden texts are given if and only if has_text")
        return self

    def require_text(self) -> None:
        """Raises TextUnavailable if the bundle encodes no texts."""
        if not self.has_text:
            raise TextUnavailable(
                f"Bundle {self.name} has no text model: it encodes images alone. Find images by "
                "an image (target=image) or texts by their words (mode=sparse), or serve a bundle "
                "that encodes texts too."
            )

    @property
    def scorer(self) -> Scorer:
        """What scores labels."""
        return Scorer(self.scoring, self.logit_scale, self.logit_bias)

    @property
    def towers(self) -> tuple[str, ...]:
        """File names of the towers in fp32."""
        return (IMAGE_TOWER, TEXT_TOWER) if self.has_text else (IMAGE_TOWER,)

    @property
    def maps(self) -> tuple[MapKind, ...]:
        """The kinds of map that the image tower's outputs give."""
        maps: list[MapKind] = ["attention"] if self.has_attention else []
        return (*maps, "text") if self.patches is not None and self.has_text else tuple(maps)

    @property
    def map_outputs(self) -> dict[str, tuple[int, ...]]:
        """The image tower's outputs that maps are made of → their shapes for one image."""
        if self.patch_grid is None:
            return {}
        attention = {"attention": self.patch_grid} if self.has_attention else {}
        patches = {"patches": (*self.patch_grid, self.dimension)} if "text" in self.maps else {}
        return {**attention, **patches}


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its directory and its manifest."""

    path: Path
    manifest: Manifest

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which pads and truncates to the context length. Raises TextUnavailable."""
        self.manifest.require_text()
        assert self.manifest.context_length is not None  # noqa: S101 — the manifest was checked
        return Tokenizer.load(self.path / TOKENIZER, self.manifest.context_length)

    @cached_property
    def label_sets(self) -> LabelSets:
        """The label sets with their prompts and calibration."""
        return LabelSets.model_validate_json((self.path / LABELS).read_bytes())

    @cached_property
    def gate(self) -> Gate | None:
        """What tells chest radiographs from other images, if the bundle has validation images."""
        return read_gate(self.path) if GATE in self.manifest.files else None

    @property
    def model_card(self) -> str:
        """The model card, in Markdown."""
        return (self.path / MODEL_CARD).read_text(encoding="utf-8")


def seal(directory: Path, manifest: Manifest) -> Bundle:
    """Hashes the files in `directory`, writes bundle.json and returns the verified bundle.

    The manifest is written in format 3. Raises BundleCorrupt if a required file is missing.
    """
    files = {
        path.name: FileEntry(sha256=_sha256(path), bytes=path.stat().st_size)
        for path in sorted(directory.iterdir())
        if path.name != MANIFEST
    }
    changed = {"format": 3, "id": _UNSEALED, "files": files}
    unsealed = manifest.model_copy(update=changed)
    text = json.dumps(unsealed.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    identity = hashlib.sha256(text.encode()).hexdigest()
    sealed = text.replace(f'"id": "{_UNSEALED}"', f'"id": "{identity}"', 1)
    (directory / MANIFEST).write_text(sealed, encoding="utf-8")
    return load(directory)


def load(directory: Path) -> Bundle:
    """Reads a bundle and verifies every file.

    Raises BundleCorrupt, which names the first file that is missing or differs.
    """
    manifest = _read_manifest(directory / MANIFEST)
    int8 = [INT8[tower] for tower in manifest.towers] if manifest.int8 else []
    for name in (*REQUIRED, *(OF_TEXT if manifest.has_text else ()), *int8):
        if name not in manifest.files:
            raise BundleCorrupt(f"{MANIFEST} lists no {name}. Export the bundle again.")
    for name, entry in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleCorrupt(f"{name} is missing from the bundle. Copy or export it again.")
        if _sha256(path) != entry.sha256:
            raise BundleCorrupt(
                f"{name} is not the file that {MANIFEST} records: its sha256 differs. "
                "Copy or export the bundle again."
            )
    bundle = Bundle(directory, manifest)
    _ = bundle.gate  # read now, so that no request finds that it cannot be
    return bundle


def read_gate(directory: Path) -> Gate | None:
    """Returns the gate in the directory of a bundle, if there is one. Raises BundleCorrupt."""
    path = directory / GATE
    if not path.exists():
        return None
    try:
        return Gate.model_validate_json(path.read_bytes())
    except ValidationError:
        raise BundleCorrupt(f"{GATE} holds no gate. Export the bundle again.") from None


def _read_manifest(path: Path) -> Manifest:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleCorrupt(
            f"{MANIFEST} cannot be read: {error.strerror}. Name a bundle's directory."
        ) from error
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file"
        raise BundleCorrupt(
            f"{MANIFEST} is not a manifest of format 1, 2 or 3 (at {where}). Export the bundle "
            "again, or serve it with the version that wrote it."
        ) from error
    unsealed = raw.replace(f'"{manifest.id}"'.encode(), f'"{_UNSEALED}"'.encode(), 1)
    if hashlib.sha256(unsealed).hexdigest() != manifest.id:
        raise BundleCorrupt(f"{MANIFEST} was changed after it was sealed. Export the bundle again.")
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
