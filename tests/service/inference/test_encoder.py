import json
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from service.bundle.golden import Golden
from service.bundle.manifest import Int8, load, seal
from service.deadline import Deadline
from service.errors import (
    BundleNotReady,
    DeadlineExceeded,
    EclipError,
    ImageUnsupported,
    TextInvalid,
)
from service.imaging.decode import ImageLimits, decode
from service.inference.encoder import EncodedImage
from service.inference.self_test import self_test
from service.inference.session import (
    Towers,
    choose_precision,
    choose_providers,
)
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture
from tests.service.inference.conftest import DECODERS, MAX_TEXT_CHARS, QUEUE_ITEMS, open_encoder


class Counted(np.ndarray):
    """An array that a weak reference may point to and a set may hold."""

    __hash__ = object.__hash__


@pytest.fixture(scope="module")
def pictures():
    return [p.read_bytes() for p in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:6]]


@pytest.fixture(scope="module")
def uncached(encoder):
    with open_encoder(encoder.bundle, cache_items=0) as uncached:
        yield uncached


def test_answers_keep_the_order_of_the_request_around_a_bad_item(encoder, pictures, deadline):
    answers = encoder.images([pictures[0], b"not an image", pictures[1]], deadline)
    assert isinstance(answers[1], ImageUnsupported)
    alone = [encoder.image(data, deadline).vector for data in pictures[:2]]
    np.testing.assert_allclose(answers[0].vector, alone[0], atol=1e-5)
    np.testing.assert_allclose(answers[2].vector, alone[1], atol=1e-5)


def test_vectors_have_unit_length_and_one_space(encoder, pictures, deadline):
    image = encoder.image(pictures[0], deadline).vector
    text = encoder.texts(["No pneumothorax."], deadline)[0].vector
    assert image.shape == text.shape == (encoder.bundle.manifest.dimension,)
    np.testing.assert_allclose([np.linalg.norm(image), np.linalg.norm(text)], 1, atol=1e-5)


def test_many_threads_get_what_one_gets(encoder, pictures, deadline):
    expected = [encoder.image(data, deadline).vector for data in pictures]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda d: encoder.images([d], deadline)[0], pictures * 5))
    for index, answer in enumerate(got):
        assert isinstance(answer, EncodedImage)
        np.testing.assert_allclose(answer.vector, expected[index % len(expected)], atol=1e-5)


def test_more_texts_than_the_queue_holds_are_encoded_in_parts(encoder, deadline):
    texts = [f"Nodule number {index}." for index in range(2 * QUEUE_ITEMS)]
    assert len(encoder.texts(texts, deadline)) == 2 * QUEUE_ITEMS


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MAX_TEXT_CHARS + 1)])
def test_texts_out_of_bounds_are_refused(encoder, deadline, text):
    with pytest.raises(TextInvalid, match="Text 1"):
        encoder.texts(["fine", text], deadline)


def test_a_bundle_whose_towers_answer_otherwise_is_not_ready(tmp_path):
    copy = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    manifest = load(copy).manifest
    golden = Golden.of(
        manifest.golden.text, -manifest.golden.image_vector(), manifest.golden.text_vector()
    )
    wrong = seal(copy, manifest.model_copy(update={"golden": golden}))
    with pytest.raises(BundleNotReady, match="image tower's golden embedding"):
        self_test(wrong, Towers(wrong), 1)


def test_a_provider_that_is_not_there_is_named_and_not_replaced():
    with pytest.raises(BundleNotReady, match="TensorrtExecutionProvider"):
        choose_providers(["TensorrtExecutionProvider"], ["CPUExecutionProvider"])
    available = ["CPUExecutionProvider", "CUDAExecutionProvider"]
    assert choose_providers([], available) == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_a_named_provider_that_cannot_be_loaded_is_not_replaced(encoder, monkeypatch):
    """The wheel without CUDA falls back as the one with CUDA does where the driver is missing."""
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(BundleNotReady, match="could not load"),
    ):
        Towers(encoder.bundle, ["CUDAExecutionProvider"])


def test_the_log_says_which_providers_are_in_use(encoder, monkeypatch):
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    with pytest.warns(UserWarning, match="not in available provider names"), capture_logs() as logs:
        Towers(encoder.bundle)
    (opened,) = (entry for entry in logs if entry["event"] == "towers opened")
    assert opened["image"] == opened["text"] == ["CPUExecutionProvider"]


def test_a_radiograph_is_reduced_and_has_the_same_vector_and_facts(encoder, pictures, deadline):
    whole = decode(pictures[0], ImageLimits())
    (reduced,) = encoder.radiographs(pictures[:1], deadline, 32)
    np.testing.assert_array_equal(reduced.radiograph.pixels, whole.reduced(32).pixels)
    (image,) = encoder.images(pictures[:1], deadline)
    assert image.facts == reduced.radiograph.facts == whole.facts
    np.testing.assert_allclose(image.vector, reduced.vector, atol=1e-5)


def test_a_bad_item_is_its_own_error_among_radiographs_too(uncached, pictures, deadline):
    answers = uncached.radiographs([b"not an image", pictures[0]], deadline, 32)
    assert isinstance(answers[0], ImageUnsupported)
    assert max(answers[1].radiograph.pixels.shape) == 32


def test_a_batch_never_holds_more_decoded_images_than_there_are_decoders(
    uncached, pictures, deadline, monkeypatch
):
    alive, held = weakref.WeakSet(), []

    def decode_and_count(*asked):
        radiograph = decode(*asked)
        pixels = radiograph.pixels.view(Counted)
        alive.add(pixels)
        held.append(len(alive))
        return replace(radiograph, pixels=pixels)

    monkeypatch.setattr("service.inference.encoder.decode", decode_and_count)
    uncached.images(pictures * 5, deadline)
    assert len(held) == 5 * len(pictures)
    assert max(held) <= 2 * DECODERS


def test_nothing_is_decoded_once_the_deadline_has_passed(uncached, pictures, monkeypatch):
    decoded = []
    monkeypatch.setattr("service.inference.encoder.decode", lambda *_: decoded.append(1))
    with pytest.raises(DeadlineExceeded):
        uncached.images(pictures, Deadline(0))
    with pytest.raises(DeadlineExceeded):
        uncached.looked(pictures[0], Deadline(0))
    assert decoded == []


def test_a_client_that_leaves_takes_its_waiting_decodes_along(uncached, pictures, monkeypatch):
    deadline, decoded = Deadline(60), []

    def decode_while_the_client_leaves(data, *asked):
        deadline.cancel()
        decoded.append(data)
        return decode(data, *asked)

    monkeypatch.setattr("service.inference.encoder.decode", decode_while_the_client_leaves)
    with pytest.raises(DeadlineExceeded):
        uncached.images(pictures * 10, deadline)
    assert len(decoded) <= DECODERS


def test_a_deadline_that_passes_while_decoding_ends_the_wait(uncached, pictures, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("service.inference.encoder.decode", lambda *_: release.wait(60))
    try:
        with pytest.raises(DeadlineExceeded):
            uncached.image(pictures[0], Deadline(0.05))
        assert not release.is_set()
    finally:
        release.set()


def test_errors_are_values_in_a_batch(encoder, deadline):
    answers = encoder.images([b"", json.dumps({}).encode()], deadline)
    assert all(isinstance(answer, EclipError) for answer in answers)


def test_what_was_embedded_before_comes_from_the_cache_with_its_facts(
    encoder, pictures, deadline, monkeypatch
):
    first = encoder.images([pictures[3]], deadline)[0]
    monkeypatch.setattr("service.inference.encoder.decode", None)
    again = encoder.images([pictures[3]], deadline)[0]
    assert again is first
    assert again.facts.rows > 0


def test_int8_that_the_bundle_lacks_is_refused_and_auto_takes_what_there_is(encoder):
    manifest = encoder.bundle.manifest
    without = replace(encoder.bundle, manifest=manifest.model_copy(update={"int8": None}))
    with pytest.raises(BundleNotReady, match="ECLIP_PRECISION is int8"):
        choose_precision(without, "int8", on_cpu=True)
    assert choose_precision(without, "auto", on_cpu=True) == "fp32"
    change = Int8(golden=manifest.golden, studies=1, overlap_at_10=1, decisions=1)
    small = replace(encoder.bundle, manifest=manifest.model_copy(update={"int8": change}))
    assert choose_precision(small, "auto", on_cpu=True) == "int8"
    assert choose_precision(small, "auto", on_cpu=False) == "fp32"
    assert choose_precision(small, "fp32", on_cpu=True) == "fp32"


@pytest.mark.parametrize(
    ("cores", "threads", "calls", "each"), [(2, None, 2, 1), (32, None, 8, 4), (8, 8, 1, 8)]
)
def test_a_cpu_is_filled_by_calls_side_by_side(encoder, cores, threads, calls, each):
    towers = Towers(encoder.bundle, ["CPUExecutionProvider"], cores=cores, threads=threads)
    assert (towers.calls, towers.threads) == (calls, each)


@pytest.mark.parametrize(("side", "shape"), [(1024, (1024, 819)), (64, (64, 51))])
@pytest.mark.parametrize("kind", ["JPEG", "DICOM"])
def test_a_reduced_radiograph_has_the_side_asked_for_though_the_tower_needs_less(
    encoder, deadline, monkeypatch, kind, side, shape
):
    """The bundle lets an image be shrunk while it is decoded, once for both."""
    manifest = encoder.bundle.manifest
    spec = manifest.image.model_copy(update={"reducing_gap": 1.0})
    bundle = replace(encoder.bundle, manifest=manifest.model_copy(update={"image": spec}))
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1200)).astype(np.uint8)
    data = {
        "JPEG": picture(Image.fromarray(noise), "JPEG"),
        "DICOM": dicom_bytes(dicom_dataset(noise)),
    }[kind]
    assert max(decode(data, ImageLimits(), spec).pixels.shape) < 200
    decoded = []
    monkeypatch.setattr(
        "service.inference.encoder.decode",
        lambda *given, **named: decoded.append(decode(*given, **named)) or decoded[-1],
    )
    with open_encoder(bundle, cache_items=0) as shrinking:
        (encoded,) = shrinking.radiographs([data], deadline, side)
    assert encoded.radiograph.pixels.shape == shape
    assert len(decoded) == 1
