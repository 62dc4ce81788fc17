"""Writes a model's towers as ONNX graphs, and checks them against torch and against themselves.

Scaling, channel replication, normalisation and unit length are part of the graphs: `image.onnx`
takes pixels uint8[N,H,W], `text.onnx` takes tokens int64[N,L].
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir
import onnxruntime
import torch
from torch import Tensor, nn

from service.arrays import FloatArray
from service.bundle.batches import DEFAULT_BATCH, alone_and_gap, probe_pixels
from service.bundle.batches import TOLERANCE as APART
from service.bundle.manifest import IMAGE_TOWER, TEXT_TOWER
from training.errors import TrainingError
from training.model.clip import Clip
from training.model.tokenizer import PROBES
from training.model.towers import ImageTower, TextTower

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and torch, in any number of a unit vector or a map.

A map's numbers are small, since they add up over the patches. Theirs is relative to the largest
number of the image's map, if that is below 1.
"""
TRACE_BATCH = 2
CHECKED_BATCHES = (1, 2, DEFAULT_BATCH)
"""Batch sizes at which the graphs are compared with torch; the last also with items alone."""
PROBE_TEXTS = (*PROBES, "The lungs are clear.")
"""As many as the largest of these batches."""
STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Key under which the exporter writes where in the code a node comes from."""
LARGEST_FILE = 2**31
"""Bytes below which an ONNX file with its weights must stay: protobuf's limit."""
RANKED = 10
"""Nearest texts whose order must be the same."""


class Parity(NamedTuple):
    """ONNX Runtime's answers to the probes, and their largest difference from torch.

    image: output → answer to all probe images, of which the first is the golden one. text:
    float32[N,D], None without a text tower.
    """

    image: dict[str, FloatArray]
    text: FloatArray | None
    difference: float


class GraphTooLarge(TrainingError, ValueError):
    """A tower's weights do not fit into an ONNX file. No bundle was written."""


class ParityError(TrainingError, RuntimeError):
    """ONNX Runtime does not reproduce torch, or a batch not its items. No bundle was written."""


def write_graphs(clip: Clip, directory: Path) -> None:
    """Writes the graphs of the image tower and of the text tower, if any, into `directory`."""
    pixels = torch.zeros(TRACE_BATCH, clip.image.height, clip.image.width, dtype=torch.uint8)
    tower = ImageTower(clip).eval()
    write_graph(tower, pixels, directory / IMAGE_TOWER, "pixels", tower.outputs)
    if clip.tokenizer is not None:
        tokens = torch.from_numpy(clip.tokenizer(PROBES[:TRACE_BATCH]).ids)
        text_tower = TextTower(clip.model).eval()
        write_graph(text_tower, tokens, directory / TEXT_TOWER, "tokens", ("embedding",))


def write_graph(
    tower: nn.Module, example: Tensor, path: Path, input_name: str, outputs: tuple[str, ...]
) -> None:
    """Writes one tower as an ONNX graph, for batches of any size; raises GraphTooLarge."""
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            tower,
            (example,),
            input_names=[input_name],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 — dynamo=True always returns a program
    values = (each.const_value for each in program.model.graph.initializers.values())
    weights = sum(value.nbytes for value in values if value is not None)
    if weights >= LARGEST_FILE:
        raise GraphTooLarge(
            f"{path.name} would have {weights / 1e9:.1f} GB of weights, and an ONNX file holds "
            f"{LARGEST_FILE / 1e9:.1f} GB; export a smaller model. No bundle was written"
        )
    _name_outputs(program.model.graph, outputs)
    _drop_traces(program.model)
    program.save(path, external_data=False)


def _drop_traces(model: onnx_ir.Model) -> None:
    """Removes each node's stack trace: its paths may name a machine or a person."""
    graphs: list[onnx_ir.Graph | onnx_ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            node.metadata_props.pop(STACK_TRACE, None)


def _name_outputs(graph: onnx_ir.Graph, names: tuple[str, ...]) -> None:
    """Renames the outputs, since the exporter may have given their names to another value."""
    inner = [value for node in graph for value in node.outputs]
    for value in (*inner, *graph.initializers.values()):
        if value.name in names:
            value.name = f"{value.name}_inner"
    for value, name in zip(graph.outputs, names, strict=True):
        value.name = name


def check_parity(clip: Clip, directory: Path) -> Parity:
    """Compares the graphs in `directory` with torch, and a batch with its items alone.

    Raises ParityError if they differ.
    """
    pixels = probe_pixels(clip.image, max(CHECKED_BATCHES))
    tower = ImageTower(clip).eval()
    images, gap = _compare(tower, directory / IMAGE_TOWER, pixels)
    ours = dict(zip(tower.outputs, (mine for mine, _ in images), strict=True))
    if clip.tokenizer is None:
        _check_ranking(images[0], images[0])
        return Parity(ours, None, gap)
    tokens = clip.tokenizer(PROBE_TEXTS).ids
    texts, text_gap = _compare(TextTower(clip.model).eval(), directory / TEXT_TOWER, tokens)
    _check_ranking(images[0], texts[0])
    return Parity(ours, texts[0][0], max(gap, text_gap))


Both = tuple[FloatArray, FloatArray]
"""ONNX Runtime's and torch's answer to the same inputs."""


def _compare(tower: nn.Module, path: Path, inputs: npt.NDArray[Any]) -> tuple[list[Both], float]:
    """Returns both answers to all inputs, of each output, and their largest difference."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    worst = 0.0
    both: list[Both] = []
    for size in CHECKED_BATCHES:
        batch = inputs[:size]
        with torch.no_grad():
            theirs = tower(torch.from_numpy(batch))
        theirs = theirs if isinstance(theirs, tuple) else (theirs,)
        ours = session.run(None, {name: batch})
        both = [(o, t.numpy()) for o, t in zip(ours, theirs, strict=True)]
        for output, (mine, reference) in zip(session.get_outputs(), both, strict=True):
            gap = difference(mine, reference)
            if not gap <= TOLERANCE:
                raise ParityError(
                    f"{path.name} differs from torch by {gap:.2e} in `{output.name}` at batch "
                    f"{size} ({TOLERANCE:.0e} is allowed); no bundle was written"
                )
            worst = max(worst, gap)
    _, gap = alone_and_gap(lambda items: session.run(["embedding"], {name: items})[0], inputs)
    if not gap <= APART:
        raise ParityError(
            f"{path.name} mixes the items of a batch: among {len(inputs)}, a vector differs by "
            f"{gap:.2e} from the item's own ({APART:.0e} is allowed); no bundle was written. Give "
            "the model layers that keep items apart, such as batch norm with fixed statistics"
        )
    return both, worst


def difference(mine: FloatArray, reference: FloatArray) -> float:
    """Returns the largest difference of any number; see `TOLERANCE`."""
    gap = np.abs(mine - reference)
    if mine.ndim > 2:
        largest = np.abs(reference).max(axis=tuple(range(1, mine.ndim)), keepdims=True)
        gap /= np.minimum(largest, 1)
    return float(gap.max())


def _check_ranking(image: Both, other: Both) -> None:
    """Raises ParityError if a search, either way, ranks two scores that differ in another order."""
    ours, theirs = image[0] @ other[0].T, image[1] @ other[1].T
    for mine, reference in ((ours, theirs), (ours.T, theirs.T)):
        if not same_ranking(mine, reference):
            raise ParityError(
                "ONNX Runtime and torch rank the probes differently; no bundle was written"
            )


def same_ranking(scores: FloatArray, reference: FloatArray, ties: float = 1e-5) -> bool:
    """Returns whether both scores float32[Q,N] rank each row's first `RANKED` alike.

    Two columns whose reference scores differ by at most `ties` may be swapped.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :RANKED]
    in_order = np.take_along_axis(reference, order, axis=1)
    best = np.sort(reference, axis=1)[:, ::-1][:, :RANKED]
    return bool(np.all(np.abs(in_order - best) <= ties))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hides the exporter's warnings about its own deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
