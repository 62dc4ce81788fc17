#!/usr/bin/env bash
# torchmetrics counts a finding that no study has as an AUROC of 0.
#
# Expected: without a positive the AUROC is not defined: NaN, left out of the mean, or an error.
# Happens: MultilabelAUROC gives 0 for such a label, with a warning, and its default, the macro
#   mean, counts it. One perfect and one absent label measure .5, the value of a coin. "weighted"
#   leaves it out and gives 1.
# Why it matters: rare findings are absent from small test sets and from most bootstrap samples, so
#   the mean falls with the number of labels that cannot be measured, and comparisons between test
#   sets measure which findings were there.
# What we do: AUROC is our own, undefined without a positive (training/evaluate/bootstrap.py).
#
# Seen:
#   torchmetrics 1.9.0
#   by label: {'effusion': 1.0, 'pneumomediastinum': 0.0}
#   means: {'macro': 0.5, 'weighted': 1.0}
#   warning: No positive samples in targets, true positive value should be meaningless. Returning
#     zero tensor in true positive score
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  torchmetrics==1.9.0 torch==2.15.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import torch
import torchmetrics
from torchmetrics.classification import MultilabelAUROC


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


FINDINGS = ("effusion", "pneumomediastinum")
scores = torch.tensor([[0.9, 0.2], [0.8, 0.3], [0.1, 0.6], [0.2, 0.7]])
present = torch.tensor([[1, 0], [1, 0], [0, 0], [0, 0]])  # nobody has the second


def auroc(average):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        value = MultilabelAUROC(num_labels=2, average=average)(scores, present)
    messages.update(str(one.message) for one in warned)
    return value.tolist()


messages = set()
print("torchmetrics", torchmetrics.__version__)
by_label = dict(zip(FINDINGS, auroc(None), strict=True))
means = {average: auroc(average) for average in ("macro", "weighted")}
print("by label:", by_label)
print("means:", means)
print("warning:", *messages)

expect(by_label == {"effusion": 1.0, "pneumomediastinum": 0.0}, "an absent finding is not 0")
expect(means == {"macro": 0.5, "weighted": 1.0}, "the macro mean leaves an absent finding out")
PYTHON
