"""Computes the maps of one trained tower on images with one finding each."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.arrays import FloatArray, UInt8
from training.evaluate.encode import BATCH, TorchEncoder
from training.evaluate.prompts import ensemble
from training.experiments.phantom_localisation.truth import LABELS, Single
from training.model.attention import PoolingAttention
from training.model.clip import Clip
from training.model.pixels import NormalisePixels


def maps(encoder: TorchEncoder, single: Single) -> dict[str, FloatArray]:
    """Returns float32[N,G,G] of each kind; the text is that of each image's own finding.

    attention: where the tower pooled. text: what each patch adds to the text's score. last_token:
    the cosine of the tower's last tokens with the text, which the service showed before.
    """
    texts = np.stack([ensemble(encoder, prompts.present) for prompts in LABELS.values()])
    attention, tokens = _read(encoder.clip, single.pixels)
    return {
        "attention": attention,
        "last_token": _cosines(tokens, texts[single.labels]),
    }


@torch.no_grad()
def _read(clip: Clip, pixels: UInt8) -> tuple[FloatArray, FloatArray]:
    """Returns the pooling attention float32[N,G,G] and last tokens float32[N,G,G,D]."""
    visual = clip.model.visual.eval()
    pooling, normalise = PoolingAttention(visual), NormalisePixels(clip.normalisation)
    read = []
    for batch in _batches(pixels):
        images = normalise(torch.from_numpy(batch))
        attention = pooling(images)[1].exp().mean(dim=1)
        read.append((attention.numpy(), last_tokens(visual, images).numpy()))
    attentions, tokens = zip(*read, strict=True)
    return np.concatenate(attentions), np.concatenate(tokens)


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


def _cosines(patches: FloatArray, texts: FloatArray) -> FloatArray:
    cosines: FloatArray = np.einsum("nijd,nd->nij", patches, texts)
    return cosines


def _batches(pixels: UInt8) -> Iterator[UInt8]:
    return (pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH))
