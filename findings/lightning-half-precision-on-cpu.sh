#!/usr/bin/env bash
# Lightning trains in another precision than the one asked for, where there is no GPU.
#
# Expected: precision="16-mixed" on a machine that cannot do it is an error.
# Happens: Lightning warns once, among its other warnings, and trains in bfloat16. The trainer then
#   reports the precision "bf16-mixed", the recipe still says "16-mixed", and no gradients are
#   scaled.
# Why it matters: bfloat16 has 8 bits of precision and float16 has 11. A run that fell back to a
#   CPU, because a driver was missing, is recorded as a repetition of one on the GPU, with other
#   rounding.
# What we do: a recipe that asks for float16 without an accelerator is refused
#   (training/trainer.py).
#
# Seen:
#   pytorch-lightning 2.6.6 torch 2.15.0+cu132
#   asked for 16-mixed, the trainer says bf16-mixed, outputs are ['torch.bfloat16'], gradient scaler
#     None
#   warning: You passed `Trainer(accelerator='cpu', precision='16-mixed')` but AMP with fp16 is not
#     supported on CPU. Using `precision='bf16-mixed'` instead.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  pytorch-lightning==2.6.6 torch==2.15.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import pytorch_lightning
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


class Probe(LightningModule):
    """A projection that notes the precision of its output."""

    def __init__(self):
        super().__init__()
        self.projection = torch.nn.Linear(4, 2)

    def training_step(self, batch):
        output = self.projection(batch)
        seen.add(str(output.dtype))
        return output.square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


seen = set()
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    trainer = Trainer(
        accelerator="cpu",
        precision="16-mixed",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Probe(), DataLoader(torch.ones(8, 4), batch_size=8))
messages = [str(one.message) for one in warned if "fp16" in str(one.message)]
print("pytorch-lightning", pytorch_lightning.__version__, "torch", torch.__version__)
print(
    f"asked for 16-mixed, the trainer says {trainer.precision}, outputs are {sorted(seen)},",
    f"gradient scaler {getattr(trainer.precision_plugin, 'scaler', None)}",
)
print("warning:", *messages)

expect(trainer.precision == "bf16-mixed", "the precision is not changed")
expect(seen == {"torch.bfloat16"}, "the training ran in another precision")
expect(len(messages) == 1, "another number of warnings")
PYTHON
