import json
import os
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from service.bundle.manifest import Golden, load, seal
from service.errors import (
    BundleNotReady,
    DeadlineExceeded,
    EclipError,
    ImageUnsupported,
    TextInvalid,
)
from service.imaging.decode import ImageLimits, decode
from service.inference.attention import attention, overlay
from service.inference.batching import Deadline
from service.inference.encoder import EncodedImage
from service.inference.session import Towers, choose_providers, self_test
from service.settings import DEMO_BUNDLE, DEMO_LIBRARY


class Counted(np.ndarray):
    """An array that a weak reference may point to and a set may hold."""

    __hash__ = object.__hash__


@pytest.fixture(scope="module")
def pictures():
    return [p.read_bytes() for p in sorted(DEMO_LIBRARY.parent.glob("images/*.jpg"))[:6]]


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
    texts = [f"Nodule number {index}." for index in range(600)]
    assert len(encoder.texts(texts, deadline)) == 600


@pytest.mark.parametrize("text", ["", "  \n", "x" * 20_001])
def test_texts_out_of_bounds_are_refused(encoder, deadline, text):
    with pytest.raises(TextInvalid, match="Text 1"):
        encoder.texts(["fine", text], deadline)


def test_the_attention_grid_is_the_cosine_of_patches_and_text(encoder, pictures, deadline):
    radiograph, grid = attention(encoder, pictures[0], "Consolidation.", deadline)
    _, patches = encoder.patches(pictures[0], deadline)
    text = encoder.texts(["Consolidation."], deadline)[0].vector
    np.testing.assert_allclose(grid, patches @ text, atol=1e-5)
    assert grid.shape == encoder.bundle.manifest.patch_grid
    assert overlay(np.zeros((96, 96), np.uint8), grid).startswith(b"\x89PNG")
    assert radiograph.format == "jpeg"


def test_a_bundle_whose_towers_answer_otherwise_is_not_ready(tmp_path):
    copy = shutil.copytree(DEMO_BUNDLE, tmp_path / "bundle")
    manifest = load(copy).manifest
    golden = Golden.of(
        manifest.golden.text, -manifest.golden.image_vector(), manifest.golden.text_vector()
    )
    wrong = seal(copy, manifest.model_copy(update={"golden": golden}))
    with pytest.raises(BundleNotReady, match="image tower's golden embedding"):
        self_test(wrong, Towers(wrong, (), None))


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
        Towers(encoder.bundle, ["CUDAExecutionProvider"], None)


def test_the_log_says_which_providers_are_in_use(encoder, monkeypatch):
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    with pytest.warns(UserWarning, match="not in available provider names"), capture_logs() as logs:
        Towers(encoder.bundle, [], None)
    (opened,) = (entry for entry in logs if entry["event"] == "towers opened")
    assert opened["image"] == opened["text"] == ["CPUExecutionProvider"]


def test_only_the_pixels_asked_for_stay_with_the_vector(encoder, pictures, deadline):
    """The facts stay the file's own."""
    whole = decode(pictures[0], ImageLimits())
    sides = {0: (0, 0), 32: whole.reduced(32).pixels.shape}
    for side, shape in sides.items():
        (encoded,) = encoder.images(pictures[:1], deadline, side)
        assert encoded.radiograph.pixels.shape == shape
        assert (encoded.radiograph.rows, encoded.radiograph.columns) == whole.pixels.shape


def test_a_batch_never_holds_more_decoded_images_than_there_are_decoders(
    encoder, pictures, deadline, monkeypatch
):
    alive, most = weakref.WeakSet(), []

    def decode_and_count(data, limits):
        radiograph = decode(data, limits)
        pixels = radiograph.pixels.view(Counted)
        alive.add(pixels)
        most.append(len(alive))
        return replace(radiograph, pixels=pixels)

    monkeypatch.setattr("service.inference.encoder.decode", decode_and_count)
    encoder.images(pictures * 5, deadline)
    assert len(most) == 5 * len(pictures)
    assert max(most) <= 2 * os.cpu_count()


def test_nothing_is_decoded_once_the_deadline_has_passed(encoder, pictures, monkeypatch):
    decoded = []
    monkeypatch.setattr("service.inference.encoder.decode", lambda *_: decoded.append(1))
    with pytest.raises(DeadlineExceeded):
        encoder.images(pictures, Deadline(0))
    with pytest.raises(DeadlineExceeded):
        encoder.patches(pictures[0], Deadline(0))
    assert decoded == []


def test_a_client_that_leaves_takes_its_waiting_decodes_along(encoder, pictures, monkeypatch):
    deadline, decoded = Deadline(60), []

    def decode_while_the_client_leaves(data, limits):
        deadline.cancel()
        decoded.append(data)
        return decode(data, limits)

    monkeypatch.setattr("service.inference.encoder.decode", decode_while_the_client_leaves)
    with pytest.raises(DeadlineExceeded):
        encoder.images(pictures * 10, deadline)
    assert len(decoded) <= os.cpu_count()


def test_a_deadline_that_passes_while_decoding_ends_the_wait(encoder, pictures, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("service.inference.encoder.decode", lambda *_: release.wait(60))
    try:
        with pytest.raises(DeadlineExceeded):
            encoder.image(pictures[0], Deadline(0.05))
        assert not release.is_set()
    finally:
        release.set()


def test_errors_are_values_in_a_batch(encoder, deadline):
    answers = encoder.images([b"", json.dumps({}).encode()], deadline)
    assert all(isinstance(answer, EclipError) for answer in answers)
