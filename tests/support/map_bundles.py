"""Builds bundles whose tower looks where an image is bright, with maps of a chosen quality."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.arrays import FloatArray
from service.bundle.golden import Golden, golden_pixels
from service.bundle.manifest import GATE, IMAGE_TOWER, LABELS, Bundle, load, seal
from service.bundle.maps import MapKind, MapQuality, Measured
from service.bundle.preprocess import ImageSpec
from service.inference.encoder import Encoder
from service.inference.maps import Mapper
from service.inference.session import Towers
from service.settings import DEMO_BUNDLE

GRID = 8
LABELLED = {"nodule": {"present": ["Nodule."]}, "effusion": {"present": ["Effusion.", "Fluid."]}}
BRIGHT = "Bright square."
"""The text whose map is high where an image is bright."""


def quality(gain: float, against: str = "lesion") -> MapQuality:
    """Returns what a map was measured to be. Over a gain of 0 it is validated."""
    measured = Measured(value=0.7, low=0.6, high=0.8, centre_prior=0.6, gain_low=gain)
    return MapQuality(against=against, studies=40, pointing_game=measured, pixel_auc=measured)


def measured_mapper(encoder: Encoder, gain: float) -> Mapper:
    """Returns the maps of the encoder's bundle, as if those of texts had been measured."""
    mapper = Mapper(encoder)
    changes = {"map_quality": {"text": quality(gain)}}
    mapper.manifest = mapper.manifest.model_copy(update=changes)
    return mapper


def bright_bundle(directory: Path, spec: ImageSpec) -> Bundle:
    """Writes the demo bundle with another image tower: both maps are the mean of each patch.

    Height and width of `spec` are multiples of `GRID`.
    """
    shutil.copytree(DEMO_BUNDLE, directory)
    (directory / GATE).unlink()
    (directory / LABELS).write_text(json.dumps({"small": LABELLED}))
    demo = load(DEMO_BUNDLE)
    changes = {
        "image": spec,
        "patch_grid": (GRID, GRID),
        "patches": "value_path",
        "has_attention": True,
        "map_quality": {},
        "int8": None,
    }
    drafted = demo.manifest.model_copy(update=changes)
    text = Towers(replace(demo, manifest=drafted)).text(demo.tokenizer([BRIGHT]).ids)[0]
    onnx.save(_tower(spec, text), directory / IMAGE_TOWER)
    bundle = seal(directory, drafted)
    golden = demo.manifest.golden
    image = Towers(bundle).image(golden_pixels(spec))[0]
    answers = Golden.of(golden.text, image, golden.text_vector())
    return seal(directory, drafted.model_copy(update={"golden": answers}))


def with_maps(bundle: Bundle, *kinds: MapKind, **measured: MapQuality) -> Bundle:
    """Returns the bundle with these maps alone, and what was measured of them."""
    changes = {
        "patch_grid": (GRID, GRID) if kinds else None,
        "patches": "value_path" if "text" in kinds else None,
        "has_attention": "attention" in kinds,
        "map_quality": measured,
    }
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def _tower(spec: ImageSpec, direction: FloatArray) -> onnx.ModelProto:
    patch = [spec.height // GRID, spec.width // GRID]
    spread = np.random.default_rng(0).normal(size=(GRID**2, len(direction)))
    constants = {
        "white": np.float32(255),
        "channel": np.int64([1]),
        "last": np.int64([3]),
        "all": np.int64([1, 2]),
        "grid": np.int64([0, GRID, GRID]),
        "row": np.int64([0, GRID**2]),
        "direction": direction,
        "spread": spread.astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["bright"]),
        helper.make_node("Unsqueeze", ["bright", "channel"], ["image"]),
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=patch, strides=patch),
        helper.make_node("Reshape", ["pooled", "grid"], ["means"]),
        helper.make_node("ReduceSum", ["means", "all"], ["sum"]),
        helper.make_node("Div", ["means", "sum"], ["attention"]),
        helper.make_node("Unsqueeze", ["means", "last"], ["columns"]),
        helper.make_node("Mul", ["columns", "direction"], ["patches"]),
        helper.make_node("Reshape", ["means", "row"], ["flat"]),
        helper.make_node("MatMul", ["flat", "spread"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["embedding"], axis=1),
    ]
    outputs = {
        "embedding": ["N", len(direction)],
        "attention": ["N", GRID, GRID],
        "patches": ["N", GRID, GRID, len(direction)],
    }
    shape = ["N", spec.height, spec.width]
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
