"""The smallest CLIPs of each kind that export must carry, with random weights."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import open_clip
import pytest
import torch

from service.bundle.labels import LabelSets
from service.bundle.preprocess import ImageSpec
from training.data.dataset import open_pairs
from training.data.phantom import PhantomConfig
from training.data.phantom import phantom as draw
from training.fit.loop import ClipTraining
from training.fit.trainer import fit
from training.model import clip as clip_module
from training.model.clip import Clip, image_spec
from training.model.pixels import Normalisation
from training.model.tokenizer import learn
from training.recipe import Recipe, load_recipe

SIDE, CONTEXT, DIMENSION = 64, 48, 32
TEXT = {"context_length": CONTEXT, "vocab_size": 420, "width": 32, "heads": 2, "layers": 1}
VIT = {"image_size": SIDE, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
NORMALISATION = Normalisation((0.48, 0.45, 0.41), (0.27, 0.26, 0.28))


def vit(**vision: object) -> torch.nn.Module:
    return open_clip.CLIP(DIMENSION, VIT | vision, TEXT)


def resnet() -> torch.nn.Module:
    return open_clip.CLIP(
        DIMENSION,
        {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 16},
        TEXT,
    )


def timm(name: str, pool: str = "", **arguments: object) -> torch.nn.Module:
    vision = {
        "image_size": 160,
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": "linear",
    }
    return open_clip.model.CustomTextCLIP(DIMENSION, vision, TEXT, **arguments)


MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "vit": vit,
    "vit-mean-pooling": lambda: vit(pool_type="avg"),
    "vit-attention-pooling": lambda: vit(attentional_pool=True, attn_pooler_heads=2),
    "resnet": resnet,
    "timm-vit-siglip": lambda: timm("test_vit", init_logit_bias=-10.0),
    "timm-convnext": lambda: timm("test_convnext"),
}
GRIDS = {
    "vit": (4, 4),
    "vit-mean-pooling": (4, 4),
    "vit-attention-pooling": (4, 4),
    "resnet": (2, 2),
    "timm-vit-siglip": (10, 10),
    "timm-convnext": (5, 5),
}
"""The grid of each model's maps."""
AVERAGING = ("vit-mean-pooling", "timm-convnext")
"""Models that pool by the mean of their features, and so without attention."""


TINY = {"embed_dim": DIMENSION, "vision_cfg": VIT | {"image_size": 32}, "text_cfg": TEXT}
TINY_RUN = [
    "model.name=tiny",
    "optimiser.epochs=4",
    "optimiser.batch_size=16",
    "optimiser.learning_rate=3e-3",
    "data.train=96",
    "data.validation=32",
    "data.test=32",
    "data.size=64",
    "run.checkpoint_every=6",
    "expert.patch=8",
    "expert.width=32",
    "method=clip",
    "expert.share=1",
    "expert.batch=4",
    "expert.sigma={size: 2, unit: pixel}",
]


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test that needs a finished run is slow: it waits for a training."""
    if "finished" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a model config that lies beside the project's while the tests run."""
    configs = tmp_path_factory.mktemp("models") / "configs"
    shutil.copytree(clip_module.CONFIGS, configs)
    (configs / "tiny.json").write_text(json.dumps(TINY))
    random = TINY | {"vision_cfg": TINY["vision_cfg"] | {"patch_dropout": 0.5}}
    (configs / "tiny-dropout.json").write_text(json.dumps(random))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_module, "CONFIGS", configs)
        yield "tiny"


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    return load_recipe("phantom-tiny", TINY_RUN)


def changed(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with other values; those of a section are given as a dict."""
    return recipe.model_copy(
        update={
            key: getattr(recipe, key).model_copy(update=value) if isinstance(value, dict) else value
            for key, value in changes.items()
        }
    )


@pytest.fixture(scope="session")
def rendered(tiny_model, tiny_recipe, tmp_path_factory) -> Path:
    """A run directory where nothing but the phantoms' pixels and reports is there yet."""
    run = tmp_path_factory.mktemp("rendered") / "run"
    run.mkdir()
    read = open_pairs(tiny_recipe.data, image_spec(tiny_model), run, tiny_recipe.expert.sigma)
    for split in ("train", "validation", "test"):
        read(split)
    return run


@dataclass(frozen=True)
class Finished:
    """A run trained without interruption, the model it gave, and its loss at every step."""

    run: Path
    clip: Clip
    losses: list[float]


@pytest.fixture(scope="session")
def finished(rendered, tiny_recipe, tmp_path_factory) -> Finished:
    run = Path(shutil.copytree(rendered, tmp_path_factory.mktemp("finished") / "run"))
    losses: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ClipTraining,
            "on_before_zero_grad",
            lambda self, _: losses.append(float(self.trainer.callback_metrics["loss"])),
        )
        clip = fit(tiny_recipe, run)
    return Finished(run, clip, losses)


@pytest.fixture(scope="session")
def tokenizer():
    reports = [draw(PhantomConfig(size=32), index).study.report for index in range(40)]
    return learn(reports, TEXT["vocab_size"], CONTEXT)


@pytest.fixture(scope="session")
def make_clip(tokenizer) -> Callable[[str], Clip]:
    def make(kind: str) -> Clip:
        torch.manual_seed(0)
        model = MODELS[kind]().eval()
        for parameter in model.parameters():
            if parameter.ndim > 0:  # layer scales start near 0 and would hide a layer
                parameter.data += 0.05 * torch.randn_like(parameter)
        size = model.visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        spec = ImageSpec(height=height, width=width)
        return Clip(model, tokenizer, CONTEXT, spec, NORMALISATION)

    return make


@pytest.fixture(scope="session")
def label_sets() -> LabelSets:
    return LabelSets({"set": {"effusion": {"present": ["An effusion."], "absent": ["None."]}}})
