"""The smallest CLIPs of each kind that export must carry, with random weights."""

from collections.abc import Callable

import open_clip
import pytest
import torch

from service.bundle.labels import LabelSets
from service.bundle.preprocess import ImageSpec
from training.data.phantom import PhantomConfig
from training.data.phantom import phantom as draw
from training.model.clip import Clip
from training.model.pixels import Normalisation
from training.model.tokenizer import learn

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


def timm(name: str, **arguments: object) -> torch.nn.Module:
    vision = {
        "image_size": 160,
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": "",
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
WITH_PATCHES = {"vit": (4, 4), "vit-mean-pooling": (4, 4), "timm-vit-siglip": (10, 10)}


@pytest.fixture(scope="session")
def tokenizer():
    reports = [draw(PhantomConfig(size=32), index).study.report for index in range(40)]
    return learn(reports, TEXT["vocab_size"], CONTEXT)


@pytest.fixture(scope="session")
def make_clip(tokenizer) -> Callable[[str], Clip]:
    def make(kind: str) -> Clip:
        torch.manual_seed(0)
        model = MODELS[kind]().eval()
        size = model.visual.image_size
        height, width = (size, size) if isinstance(size, int) else size
        spec = ImageSpec(height=height, width=width)
        return Clip(model, tokenizer, CONTEXT, spec, NORMALISATION)

    return make


@pytest.fixture(scope="session")
def label_sets() -> LabelSets:
    return LabelSets({"set": {"effusion": {"present": ["An effusion."], "absent": ["None."]}}})
