"""Scores images against prompts: sentences that affirm a finding, or deny it."""

from collections.abc import Iterable

import numpy as np

from service.arrays import FloatArray
from service.bundle.labels import Prompts
from service.bundle.scoring import Scorer
from training.evaluate import PromptMean
from training.evaluate.encode import DualEncoder


def present_scores(
    encoder: DualEncoder,
    images: FloatArray,
    prompts: Iterable[Prompts],
    mean: PromptMean = "unit",
) -> FloatArray:
    """Returns float32[N,L]: similarity of N images to each label's present prompts."""
    return _similarities(images, [ensemble(encoder, prompt.present, mean) for prompt in prompts])


def margins(
    encoder: DualEncoder,
    images: FloatArray,
    prompts: Iterable[Prompts],
    mean: PromptMean = "unit",
) -> FloatArray:
    """Returns float32[N,L]: similarity to the present minus that to the absent prompts."""
    return _scores(Scorer("softmax", 1.0, 0.0), encoder, images, prompts, mean)


def label_scores(
    encoder: DualEncoder,
    images: FloatArray,
    prompts: Iterable[Prompts],
    mean: PromptMean = "unit",
) -> FloatArray:
    """Returns float32[N,L]: what the encoder's probabilities are made of, as the service does.

    It is the margin where labels are scored by softmax, the similarity to the present prompts where
    by sigmoid.
    """
    return _scores(encoder.scorer, encoder, images, prompts, mean)


def ensemble(
    encoder: DualEncoder, prompts: tuple[str, ...], mean: PromptMean = "unit"
) -> FloatArray:
    """Returns the mean of the prompts' vectors, float32[D], of unit length unless `plain`."""
    average: FloatArray = encoder.texts(prompts).mean(axis=0)
    return average if mean == "plain" else average / np.linalg.norm(average)


def _scores(
    scorer: Scorer,
    encoder: DualEncoder,
    images: FloatArray,
    prompts: Iterable[Prompts],
    mean: PromptMean,
) -> FloatArray:
    directions = [
        scorer.direction(
            ensemble(encoder, prompt.present, mean),
            ensemble(encoder, prompt.absent, mean) if prompt.absent else None,
        )
        for prompt in prompts
    ]
    return _similarities(images, directions)


def _similarities(images: FloatArray, directions: list[FloatArray]) -> FloatArray:
    return images @ np.stack(directions, axis=1)
