"""Processors of transformers, against the preprocessing of a bundle."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from service.bundle.preprocess import ImageSpec
from training.export.specimens import specimens
from training.model.pixels import Normalisation
from training.model.processor import UnsupportedProcessor, prove, read_processor


def square(side):
    return {"height": side, "width": side}


def cropped(short, height, width=None, **more):
    crop = {"height": height, "width": width or height}
    return [
        kind(size={"shortest_edge": short}, crop_size=crop, **more)
        for kind in (transformers.CLIPImageProcessor, CLIPImageProcessorPil)
    ]


def squashed(side, **more):
    return [
        kind(size=square(side), **more)
        for kind in (transformers.SiglipImageProcessor, SiglipImageProcessorPil)
    ]


PROCESSORS = {
    "CLIP": cropped(224, 224),
    "DINOv2": cropped(256, 224),
    "RAD-DINO": cropped(518, 518),
    "a crop that is not square": cropped(96, 80, 64, resample=2),
    "SigLIP": squashed(224),
    "MedSigLIP": squashed(448, rescale_factor=0.00392156862),
    "ViT": squashed(64, resample=2),
    "a crop of a square": squashed(80, do_center_crop=True, crop_size=square(64)),
    "levels around 0": squashed(64, rescale_factor=1 / 127.5, image_mean=1.0, image_std=1.0),
    "no normalisation": squashed(64, do_normalize=False),
}
"""What is published, by torchvision and by Pillow → processors."""


@pytest.fixture(scope="module")
def radiographs():
    return specimens()


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_published_processor_is_read_and_proven(kind, radiographs):
    processors = PROCESSORS[kind]
    spec, normalisation = read_processor(processors[0])
    prove(processors, spec, normalisation, radiographs)


def test_what_is_read_is_what_the_settings_say():
    spec, normalisation = read_processor(PROCESSORS["DINOv2"][0])
    assert spec == ImageSpec(height=224, width=224, scaled=256, odd_margin="down")
    assert normalisation.mean == pytest.approx(transformers.image_utils.OPENAI_CLIP_MEAN)
    spec, normalisation = read_processor(PROCESSORS["levels around 0"][0])
    assert spec == ImageSpec(height=64, width=64, fit="squash", odd_margin="down")
    assert normalisation == Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("backend", [0, 1])
@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("CLIP", {"odd_margin": "even"}),
        ("CLIP", {"interpolation": "bilinear"}),
        ("CLIP", {"fit": "squash"}),
        ("DINOv2", {"odd_margin": "even"}),
        ("DINOv2", {"scaled": None}),
        ("DINOv2", {"scaled": 257}),
        ("SigLIP", {"fit": "shortest"}),
        ("ViT", {"interpolation": "bicubic"}),
    ],
)
def test_a_setting_that_is_read_wrongly_is_noticed(kind, wrong, backend, radiographs):
    spec, normalisation = read_processor(PROCESSORS[kind][0])
    with pytest.raises(UnsupportedProcessor, match="gray levels"):
        prove(
            PROCESSORS[kind][backend : backend + 1],
            spec.model_copy(update=wrong),
            normalisation,
            radiographs,
        )


def test_another_normalisation_is_noticed(radiographs):
    spec, normalisation = read_processor(PROCESSORS["SigLIP"][1])
    other = Normalisation((0.49, 0.5, 0.5), normalisation.std)
    with pytest.raises(UnsupportedProcessor, match="gray levels"):
        prove(PROCESSORS["SigLIP"][1:], spec, other, radiographs)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"do_resize": False}, "do_resize=False"),
        ({"do_rescale": False}, "do_rescale=False"),
        ({"do_pad": True}, "do_pad=True"),
        ({"do_center_crop": False}, "do_center_crop=False"),
        ({"resample": 1}, "resample="),
        ({"size": {"max_height": 64, "max_width": 64}}, "size="),
        ({"size": {"shortest_edge": 64, "longest_edge": 80}}, "size="),
        ({"size": {"height": 80, "width": 96}}, "size="),
        ({"size": {"shortest_edge": 48}}, "crop_size="),
        ({"size": {"shortest_edge": 8}, "crop_size": square(8)}, "size="),
        ({"size": {"shortest_edge": 5000}}, "size="),
        ({"image_mean": [0.5]}, "image_mean="),
        ({"image_std": [0.5, 0.5]}, "image_std="),
    ],
)
def test_a_setting_that_a_bundle_cannot_keep_is_named(settings, named):
    processor = transformers.CLIPImageProcessor(
        **{"size": {"shortest_edge": 64}, "crop_size": square(64)} | settings
    )
    with pytest.raises(UnsupportedProcessor, match=named):
        read_processor(processor)


def test_one_that_gives_no_image_of_one_size_is_refused(radiographs):
    class InPatches:
        backend = "torchvision"

        def __call__(self, picture, **_):
            assert isinstance(picture, Image.Image)
            return {"pixel_values": torch.zeros(1, 16, 768)}

    spec, normalisation = read_processor(PROCESSORS["SigLIP"][0])
    with pytest.raises(UnsupportedProcessor, match=r"InPatches makes \(1, 16, 768\)"):
        prove([InPatches()], spec, normalisation, radiographs)


def test_the_radiographs_have_margins_of_every_kind():
    """A crop of 224: whole and half pixels, and both ways to round half of one."""
    margins = {int(224 * max(each.shape) / min(each.shape)) - 224 for each in specimens()}
    assert {margin % 4 for margin in margins} == {0, 1, 2, 3}
    assert all(each.dtype == np.uint8 for each in specimens())
