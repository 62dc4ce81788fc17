#!/usr/bin/env bash
# PyTorch's ONNX exporter writes the paths of the machine into every node of the graph.
#
# Expected: an exported model holds weights, operators and names, and nothing of where it was made.
# Happens: `torch.onnx.export(dynamo=True)` gives each node a property
#   `pkg.torch.onnx.stack_trace` with the absolute path and the line of the code that made it.
# Why it matters: a path often names a person, a hospital or a project, and a model is published.
# What we do: `eclip-train export` removes the property before it writes a graph.
#
# Seen:
#   torch 2.15.0, onnx 1.23.2, onnxscript 0.7.2
#   nodes with the path of the script: 5 of 5
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2
mkdir "$work/jane-doe"
cat >"$work/jane-doe/model.py" <<'PYTHON'
from importlib.metadata import version

import onnx
import torch


class Tower(torch.nn.Module):
    def forward(self, pixels):
        return torch.nn.functional.normalize(pixels.mean(dim=1), dim=-1)


program = torch.onnx.export(Tower().eval(), (torch.ones(2, 3, 4),), dynamo=True, verbose=False)
program.save("model.onnx")
nodes = onnx.load("model.onnx").graph.node
traced = [
    node.op_type
    for node in nodes
    for entry in node.metadata_props
    if entry.key == "pkg.torch.onnx.stack_trace" and "jane-doe/model.py" in entry.value
]
print(f"torch {version('torch')}, onnx {version('onnx')}, onnxscript {version('onnxscript')}")
print(f"nodes with the path of the script: {len(traced)} of {len(nodes)}")
assert traced, "the graph no longer holds the path of the code that made it"
PYTHON
cd "$work/jane-doe"
PYTHONWARNINGS=ignore "$work/venv/bin/python" "$work/jane-doe/model.py" 2>/dev/null
