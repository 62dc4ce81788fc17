"""Computes the maps of one trained tower on images with one finding each."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.arrays import FloatArray, UInt8
from service.bundle.maps import text_map
from training.evaluate.encode import BATCH, TorchEncoder
from training.evaluate.prompts import ensemble
from training.experiments.phantom_localisation.truth import LABELS, Single
from training.model.clip import Clip
from training.model.pixels import NormalisePixels


def maps(encoder: TorchEncoder, single: Single) -> dict[str, FloatArray]:
    """Returns float32[N,G,G] of each kind; the text is that of each image's own finding.

    attention: where the tower pooled. text: what each patch adds to the text's score. last_token:
    the cosine of the tower's last tokens with the text, which the service showed before. Raises
    ValueError if the tower does not pool by attention.
    """
    texts = np.stack([ensemble(encoder, prompts.present) for prompts in LABELS.values()])
    attention, patches = encoder.maps(single.pixels)
    if attention is None or patches is None or encoder.patch_kind != "value_path":
        raise ValueError("the experiment is on towers that pool by attention")
    return {
        "attention": attention,
        "text": _text_maps(patches, texts[single.labels]),
        "last_token": _text_maps(_last_tokens(encoder.clip, single.pixels), texts[single.labels]),
    }


def _text_maps(patches: FloatArray, texts: FloatArray) -> FloatArray:
    """Returns maps of texts, float32[N,G,G], of float32[N,G,G,D] and texts float32[N,D]."""
    return np.stack([text_map(*each) for each in zip(patches, texts, strict=True)])


@torch.no_grad()
def _last_tokens(clip: Clip, pixels: UInt8) -> FloatArray:
    """Returns the last tokens float32[N,G,G,D] of uint8[N,H,W]."""
    visual, normalise = clip.model.visual.eval(), NormalisePixels(clip.normalisation)
    read = (last_tokens(visual, normalise(torch.from_numpy(batch))) for batch in _batches(pixels))
    return np.concatenate([tokens.numpy() for tokens in read])


def last_tokens(visual: Any, images: Tensor) -> Tensor:
    """Returns an open_clip ViT's last tokens in the joint space, unit float[N,G,G,D].

    Each goes through the tower's own norm and projection, as the class token does.
    """
    reading = copy.copy(visual)
    reading.output_tokens = True
    tokens = reading(images)[1]
    if visual.final_ln_after_pool:
        tokens = visual.ln_post(tokens)
    tokens = functional.normalize(tokens @ visual.proj, dim=-1)
    return tokens.reshape(-1, *visual.grid_size, tokens.shape[-1])


def _batches(pixels: UInt8) -> Iterator[UInt8]:
    return (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
