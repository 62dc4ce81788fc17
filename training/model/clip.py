"""Loads open_clip's models, with what training and export need to know about them."""

import json
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
from pydantic import JsonValue

from service.bundle.preprocess import ImageSpec
from service.bundle.tokenizer import Tokenizer
from training.errors import TrainingError
from training.model.pixels import Normalisation
from training.model.tokenizer import from_open_clip as convert_tokenizer

LOCAL = "local-dir:"
WITH_WEIGHTS = (LOCAL, "hf-hub:")
CONFIGS = Path(__file__).parent / "configs"
PUBLISHED = CONFIGS / "published"
"""Folder of published models that open_clip lacks, as configs of its own form."""
TOWERS = "towers"
"""Value of `pretrained` for the weights that each tower was published with."""


class WeightsIgnored(TrainingError, ValueError):
    """Weights were named for a model that comes with its own; open_clip would ignore them."""


@dataclass(frozen=True)
class Clip:
    """A model, its tokenizer, and how its input is prepared.

    model: any with open_clip's encode_image and encode_text, which ships no types. A model of
    images alone has no tokenizer and no context length.
    """

    model: Any
    tokenizer: Tokenizer | None
    context_length: int | None
    image: ImageSpec
    normalisation: Normalisation
    provenance: dict[str, JsonValue] = field(default_factory=dict)

    def with_reducing_gap(self, gap: float | None) -> "Clip":
        """Returns the same model for images that are shrunk on the way to it (see ImageSpec)."""
        return replace(self, image=self.image.model_copy(update={"reducing_gap": gap}))


def from_open_clip(name: str, pretrained: str | None = None) -> Clip:
    """Loads any open_clip model, by open_clip's name for it.

    name: a built-in config (`ViT-B-32`), `local-dir:PATH`, or, with a network, `hf-hub:ORG/MODEL`.
    pretrained, for a built-in config: a tag of open_clip, the path of a checkpoint, `towers` for
    the weights that each tower was published with, or None for random weights. The other models
    come with their own weights: WeightsIgnored is raised if others are named.
    """
    _register_published()
    if pretrained and name.startswith(WITH_WEIGHTS):
        raise WeightsIgnored(
            f"{without_folder(name)} comes with its own weights; leave `pretrained` out"
        )
    each_tower = pretrained == TOWERS
    model, _, _ = open_clip.create_model_and_transforms(
        name,
        pretrained=None if each_tower else pretrained,
        pretrained_image=each_tower,
        pretrained_text=each_tower,
    )
    tokenizer = open_clip.get_tokenizer(name)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    height, width = _pair(preprocess["size"])
    return Clip(
        model=model,
        tokenizer=convert_tokenizer(tokenizer),
        context_length=tokenizer.context_length,
        image=ImageSpec(
            height=height,
            width=width,
            fit=preprocess.get("resize_mode", "shortest"),
            interpolation=preprocess.get("interpolation", "bicubic"),
            fill=preprocess.get("fill_color", 0),
        ),
        normalisation=Normalisation(tuple(preprocess["mean"]), tuple(preprocess["std"])),
        provenance={
            "open_clip_model": without_folder(name),
            "pretrained": pretrained and without_folder(pretrained),
        },
    )


def from_config(name: str, tokenizer: Tokenizer) -> Clip:
    """Builds a model of training/model/configs with random weights and the given tokenizer.

    The config's `vocab_size` is an upper bound: the tokenizer may have learned fewer tokens.
    """
    return Clip(
        model=open_clip.CLIP(**_config(name)),
        tokenizer=tokenizer,
        context_length=text_config(name)["context_length"],
        image=image_spec(name),
        normalisation=Normalisation(),
        provenance={"open_clip_model": name, "pretrained": None},
    )


def is_own(name: str) -> bool:
    """Returns whether a model is a config of training/model/configs."""
    return (CONFIGS / f"{name}.json").is_file()


def is_open_clip_model(name: str) -> bool:
    """Returns whether open_clip, with the published models added, can build a model."""
    _register_published()
    return name.startswith(WITH_WEIGHTS) or name in open_clip.list_models()


def text_config(name: str) -> dict[str, int]:
    """Returns the text tower's part of a config of training/model/configs."""
    section: dict[str, int] = _config(name)["text_cfg"]
    return section


def image_spec(name: str) -> ImageSpec:
    """Returns the image tower's input, for a config of training/model/configs."""
    size = _config(name)["vision_cfg"]["image_size"]
    return ImageSpec(height=size, width=size)


def without_folder(name: str) -> str:
    """Returns the last part of a path: its folders may name a machine or a person."""
    path = Path(name.removeprefix(LOCAL))
    return path.absolute().name if path.exists() else name


@cache
def _register_published() -> None:
    open_clip.add_model_config(PUBLISHED)


def _config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return config


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
