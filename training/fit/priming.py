"""Teaches the heatmap processor alone that P(I, 1) = I, before a run begins."""

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from training.data.pairs import Pairs
from training.fit.loop import MAX_GRADIENT
from training.fit.objective import priming_loss
from training.model.expert_clip import ExpertCLIP

LEARNING_RATE, BATCH = 3e-3, 32


def prime(model: ExpertCLIP, pairs: Pairs, steps: int, seed: int) -> None:
    """Trains the model's processor for some steps on random images of the training pairs."""
    processor = model.processor
    assert processor is not None  # noqa: S101 — a primed method has one
    optimizer: Optimizer = AdamW(processor.parameters(), lr=LEARNING_RATE)
    rng = np.random.default_rng((seed, steps))
    for _ in range(steps):
        rows = rng.integers(0, len(pairs), BATCH)
        loss = priming_loss(processor, model.processor_input(torch.from_numpy(pairs.images[rows])))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(processor.parameters(), MAX_GRADIENT)
        optimizer.step()
