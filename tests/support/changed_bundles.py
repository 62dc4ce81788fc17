"""Makes bundles that encode images alone, and bundles whose towers mix the items of a batch."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from service.bundle.golden import Golden
from service.bundle.manifest import INT8, LABELS, OF_TEXT, Bundle, load, seal


def image_only(directory: Path) -> Bundle:
    """Takes texts out of the bundle in `directory`, as if its model had never read any."""
    manifest = load(directory).manifest
    for name in (*OF_TEXT, *INT8.values()):
        (directory / name).unlink(missing_ok=True)
    (directory / LABELS).write_text("{}")
    changes = {
        "name": "images-alone",
        "has_text": False,
        "context_length": None,
        "golden": Golden.of(None, manifest.golden.image_vector(), None),
        "int8": None,
        "map_quality": {k: v for k, v in manifest.map_quality.items() if k == "attention"},
    }
    return seal(directory, manifest.model_copy(update=changes))


def unlabelled(directory: Path) -> Bundle:
    """Takes the label sets out of the bundle in `directory`."""
    manifest = load(directory).manifest
    (directory / LABELS).write_text("{}")
    return seal(directory, manifest.model_copy(update={"name": "unlabelled"}))


def mix_rows(path: Path, share: float) -> None:
    """Adds to each vector of a tower's graph a share of the mean over its batch.

    Alone, an item is its batch's mean, so that its unit vector stays what it was.
    """
    model = onnx.load(path)
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["own" if name == "embedding" else name for name in node.output]
    constants = {"share": np.float32(share), "batch": np.int64([0])}
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()
    )
    graph.node.extend(
        [
            helper.make_node("ReduceMean", ["own", "batch"], ["mean"], keepdims=1),
            helper.make_node("Mul", ["mean", "share"], ["part"]),
            helper.make_node("Add", ["own", "part"], ["mixed"]),
            helper.make_node("LpNormalization", ["mixed"], ["embedding"], axis=1),
        ]
    )
    onnx.save(model, path)
