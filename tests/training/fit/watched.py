"""`eclip-train`, with the published models of a folder, writing down what each step computes.

python -m tests.training.fit.watched fit paper RUN …

MODELS: the folder of `standin.save_models`. FACTS: a folder; RANK.pt there has the facts of a
process.
"""

import os
from pathlib import Path

import torch
from pytorch_lightning.callbacks import EarlyStopping

from training import cli
from training.fit.best import KeepBest
from training.fit.loop import ClipTraining
from training.fit.objective import rank
from training.model import clip as clip_module

DARK_TO_WHITE = torch.tensor([[[0, 51, 128, 255]]], dtype=torch.uint8)


def built(self: ClipTraining) -> dict:
    """What is read off the model, the optimiser and the trainer before the first step."""
    model, processor = self.clip.model, self.processor
    (optimizer,) = self.trainer.optimizers
    of_processor = {id(p) for p in processor.parameters()} if processor is not None else set()
    callbacks = {type(each): each for each in self.trainer.callbacks}
    stopping, best = callbacks.get(EarlyStopping), callbacks.get(KeepBest)
    return {
        "text": text_tower(model, self.plan.batch(0).tokens[:4].to(self.device)),
        "normalised": self.expert_clip.normalise(DARK_TO_WHITE)[0, :, 0],
        "groups": [
            {
                "weight_decay": group["weight_decay"],
                "rate": group["initial_lr"],
                "matrices": min(p.ndim for p in group["params"]) >= 2,
                "processor": {id(p) in of_processor for p in group["params"]},
            }
            for group in optimizer.param_groups
        ],
        "schedule": [self.method.schedule(progress) for progress in (0.05, 0.1, 0.4, 0.8, 1.0)],
        "processor": processor
        and {
            "channels": (processor.embed.in_channels, processor.decode.out_channels),
            "heads": processor.attention.num_heads,
            "positions": processor.place,
        },
        "stopping": stopping and (stopping.monitor, stopping.mode, stopping.patience),
        "best": best and tuple(best.watched),
    }


def text_tower(model, tokens) -> dict:
    """The text tower's projection, its answer, and its answer computed from the class token."""
    training = model.training
    model.eval()
    with torch.no_grad():
        hidden = model.text.transformer(
            input_ids=tokens, attention_mask=(tokens != 0).long()
        ).last_hidden_state
        answer = model.encode_text(tokens)
    model.train(training)
    weight = model.text.proj.weight if isinstance(model.text.proj, torch.nn.Linear) else None
    return {"projection": str(model.text.proj), "answer": answer, "class_token": hidden[:, 0]} | {
        "weight": None if weight is None else weight.detach().clone()
    }


def step(self: ClipTraining, batch, index):
    """A training step whose parts are kept."""
    contrastive, encoded, patches = [], [], []
    hooks = [
        self.objective.register_forward_hook(lambda _, __, loss: contrastive.append(loss.detach())),
        self.clip.model.visual.register_forward_pre_hook(
            lambda _, x: encoded.append(x[0].detach())
        ),
    ]
    processor = self.processor
    if processor is not None:
        keep = lambda _, x: patches.append(x[0].detach())  # noqa: E731
        hooks.append(processor.embed.register_forward_pre_hook(keep))
    loss = original_step(self, batch, index)
    for hook in hooks:
        hook.remove()
    facts["steps"].append(
        {
            "progress": self.plan.progress(self.global_step),
            "loss": loss.detach(),
            "contrastive": contrastive,
            "encoded": encoded,
            "patches": patches,
            "pixels": batch.pixels,
            "experts": batch.experts and batch.experts._asdict(),
            "mixing": batch.mixing and batch.mixing._asdict(),
            "reconstruction": processor and primed_error(processor, batch.pixels),
        }
    )
    return loss


def primed_error(processor, pixels):
    """The mean squared error of P(I, 1) to I in normalised channels, by hand."""
    image = ((pixels / 255 - 0.58) / 0.26).unsqueeze(1).expand(-1, 3, -1, -1)
    with torch.no_grad():
        tokens = processor.embed(image).flatten(2).transpose(1, 2)
        seen, _ = processor.attention(tokens, tokens, tokens)
        grid = processor.project(seen).transpose(1, 2).unflatten(2, processor.grid)
        return (processor.decode(grid) - image).square().mean()


def start(self: ClipTraining) -> None:
    original_start(self)
    facts["built"] = built(self)


def end(_: ClipTraining) -> None:
    torch.save(facts, Path(os.environ["FACTS"]) / f"{rank()}.pt")


if __name__ == "__main__":
    facts: dict = {"steps": []}
    original_step, original_start = ClipTraining.training_step, ClipTraining.on_train_start
    ClipTraining.training_step, ClipTraining.on_train_start = step, start
    ClipTraining.on_train_end = end
    clip_module.PUBLISHED = Path(os.environ["MODELS"])
    cli.main()
