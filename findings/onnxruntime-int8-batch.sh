#!/usr/bin/env bash
# ONNX Runtime's dynamic int8 makes a vector depend on what else is in the batch.
#
# Expected: a row of a batch gives the vector that it gives alone, as it does in float32.
# Happens: quantize_dynamic scales activations over the whole batch. A row of ordinary values in one
#   batch with a row ten times as large loses most of its 256 levels: its cosine to the exact vector
#   falls from above .9999 to below .9990, and its largest change is .08 of its largest number.
# Why it matters: the same radiograph gets another embedding on a busy server than on an idle one,
#   so neighbours and calls near a threshold change with the load, and no result can be repeated.
# What we do: an int8 graph is called with one item at a time (training/int8.py).
#
# Seen:
#   onnxruntime 1.32.0
#   fp32: largest change by a neighbour 0.000 of the largest number
#   int8: largest change by a neighbour 0.079 of the largest number
#   int8, cosine to the exact vector: alone 0.99996, with a neighbour 0.99849
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


random = np.random.default_rng(0)
weights = random.standard_normal((64, 16)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "projection",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])],
    [numpy_helper.from_array(weights, "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.save(model, "fp32.onnx")
logging.disable(logging.WARNING)  # it advises a step that changes nothing here
quantize_dynamic("fp32.onnx", "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
row = random.standard_normal((1, 64)).astype(np.float32)
neighbour = 10 * random.standard_normal((1, 64)).astype(np.float32)

print("onnxruntime", onnxruntime.__version__)
vectors = {}
for name in ("fp32", "int8"):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    alone = session.run(None, {"x": row})[0][0]
    batched = session.run(None, {"x": np.concatenate([row, neighbour])})[0][0]
    vectors[name] = alone, batched
    change = float(np.abs(alone - batched).max() / np.abs(alone).max())
    print(f"{name}: largest change by a neighbour {change:.3f} of the largest number")
exact = vectors["fp32"][0]
alone, batched = (cosine(vector, exact) for vector in vectors["int8"])
print(f"int8, cosine to the exact vector: alone {alone:.5f}, with a neighbour {batched:.5f}")

expect(np.allclose(*vectors["fp32"], atol=1e-5), "float32 depends on the batch too")
expect(not np.allclose(*vectors["int8"], atol=1e-2), "int8 no longer depends on the batch")
expect(alone > 0.9999 > 0.9990 > batched, "the neighbour costs less precision")
PYTHON
