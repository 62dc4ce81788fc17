"""Maps of a tower that looks where an image is bright (`tests.support.map_bundles`)."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from service.bundle.manifest import IMAGE_TOWER
from service.bundle.maps import text_map
from service.bundle.preprocess import ImageSpec, shown_part
from service.deadline import Deadline
from service.errors import (
    BundleCorrupt,
    DeadlineExceeded,
    MapUnavailable,
    MapUnvalidated,
    TextInvalid,
)
from service.inference.maps import Mapper, caution, check_drawable
from service.inference.self_test import self_test
from service.inference.session import Looked, Towers
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture
from tests.service.inference.conftest import open_encoder
from tests.support.map_bundles import BRIGHT, GRID, bright_bundle, quality, with_maps

DARK, LIGHT = 40, 230
FITS = ("shortest", "longest", "squash")


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    spec = ImageSpec(height=96, width=64)
    return bright_bundle(tmp_path_factory.mktemp("bright") / "bundle", spec)


@pytest.fixture(scope="module")
def mappers(bright):
    """A mapper for each way to bring a radiograph to the tower's input."""
    with ExitStack() as stack:
        mappers = {}
        for fit in FITS:
            spec = bright.manifest.image.model_copy(update={"fit": fit})
            manifest = bright.manifest.model_copy(update={"image": spec})
            bundle = replace(bright, manifest=manifest)
            encoder = stack.enter_context(open_encoder(bundle, cache_items=100))
            mappers[fit] = Mapper(encoder)
        yield mappers


def turned_jpeg(levels):
    """Stored lying on its side, with an orientation that turns it upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return picture(Image.fromarray(np.rot90(levels)), "JPEG", exif=exif)


def inverted_dicom(levels):
    stored = 4095 - levels.astype(np.uint16) * 16
    dataset = dicom_dataset(stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    dataset.HighBit = 11
    return dicom_bytes(dataset)


FILES = {
    "png": lambda levels: picture(Image.fromarray(levels), "PNG"),
    "turned jpeg": turned_jpeg,
    "inverted dicom": inverted_dicom,
}


@given(
    shape=st.tuples(st.integers(60, 300), st.integers(60, 300)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    fit=st.sampled_from(FITS),
    file=st.sampled_from(sorted(FILES)),
)
@given_settings(max_examples=40)
def test_a_bright_square_is_where_the_maps_say(mappers, shape, place, fit, file):
    """Whatever is cropped, padded, turned or inverted, in pixels of the whole radiograph."""
    spec = mappers[fit].manifest.image
    part = shown_part((shape[1], shape[0]), spec)
    cell = np.array([part.height, part.width]) / GRID
    first = np.maximum(0, [part.top, part.left])
    last = np.minimum(shape, [part.top + part.height, part.left + part.width])
    centre = first + place * (last - first)
    levels = np.full(shape, DARK, np.uint8)
    top, left = np.clip(centre - cell, 0, None).astype(int)
    bottom, right = np.ceil(centre + cell).astype(int)
    levels[top:bottom, left:right] = LIGHT
    maps = mappers[fit](FILES[file](levels), [BRIGHT], Deadline(60))
    assert (maps.radiograph.rows, maps.radiograph.columns) == shape
    for grid in (maps.attention, *maps.texts):
        found = [maps.part.top, maps.part.left] + cell * (
            np.unravel_index(grid.argmax(), grid.shape) + np.array(0.5)
        )
        assert (found >= np.array([top, left]) - cell / 2).all(), (found, top, left)
        assert (found <= np.array([bottom, right]) + cell / 2).all(), (found, bottom, right)


@pytest.fixture(scope="module")
def mapper(mappers):
    return mappers["shortest"]


@pytest.fixture(scope="module")
def image():
    levels = np.random.default_rng(0).integers(20, 200, (300, 200)).astype(np.uint8)
    return FILES["png"](levels)


def test_a_text_is_mapped_by_what_each_patch_adds_to_its_cosine(mapper, image, deadline):
    encoder = mapper._encoder
    radiograph, looked = encoder.looked(image, deadline)
    vector = encoder.texts(["Nodule."], deadline)[0].vector
    expected = text_map(looked.patches, vector)
    maps = mapper(image, ["Nodule.", BRIGHT], deadline)
    np.testing.assert_allclose(maps.texts[0], expected, atol=1e-6)
    np.testing.assert_array_equal(maps.attention, looked.attention)
    assert len(maps.texts) == 2
    assert radiograph.pixels.shape == (1, 1)


@pytest.mark.parametrize(
    ("kinds", "texts", "error", "advice"),
    [
        ((), [], MapUnavailable, "Export a bundle from a vision transformer"),
        ((), ["Nodule."], MapUnavailable, "Export a bundle"),
        (("attention",), ["Nodule."], MapUnavailable, "Leave `text` out"),
        (("text",), [], TextInvalid, "Send a `text`"),
    ],
)
def test_what_a_bundle_cannot_map_is_refused_before_the_image_is_read(
    bright, kinds, texts, error, advice, deadline
):
    with open_encoder(with_maps(bright, *kinds), cache_items=100) as encoder:
        mapper = Mapper(encoder)
        with pytest.raises(error, match=advice):
            mapper(b"not an image", texts, deadline)


def test_a_map_that_is_no_number_is_refused(mapper, monkeypatch, image, deadline):
    radiograph, _ = mapper._encoder.looked(image, deadline)
    nowhere = Looked(np.full((GRID, GRID), np.nan, np.float32), None)
    monkeypatch.setattr(mapper._encoder, "looked", lambda *_: (radiograph, nowhere))
    with pytest.raises(MapUnavailable, match="no map can be made"):
        mapper(image, [], deadline)


def test_a_tower_with_patches_alone_maps_texts_alone(bright, image, deadline):
    with open_encoder(with_maps(bright, "text"), cache_items=100) as encoder:
        maps = Mapper(encoder)(image, [BRIGHT], deadline)
    assert maps.attention is None
    assert maps.texts[0].shape == (GRID, GRID)


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        ({}, "Nobody has measured"),
        ({"text": quality(0.1)}, "Nobody has measured"),
        ({"attention": quality(0)}, "against lesions, this map is no better"),
        ({"attention": quality(-0.1, "gaze")}, "against where readers look"),
    ],
)
def test_a_map_that_is_not_validated_is_drawn_only_for_who_accepts_it(bright, measured, words):
    manifest = with_maps(bright, "attention", "text", **measured).manifest
    assert words in caution(manifest, "attention")
    with pytest.raises(MapUnvalidated, match=words):
        check_drawable(manifest, "attention", accept_unvalidated=False)
    check_drawable(manifest, "attention", accept_unvalidated=True)


def test_a_validated_map_is_drawn_and_a_missing_one_never(bright):
    manifest = with_maps(bright, "attention", attention=quality(0.1)).manifest
    assert caution(manifest, "attention") is None
    check_drawable(manifest, "attention", accept_unvalidated=False)
    with pytest.raises(MapUnavailable, match="no text map"):
        check_drawable(manifest, "text", accept_unvalidated=True)


@pytest.mark.parametrize("changes", [{}, {"has_attention": False}, {"patches": None}])
def test_a_tower_with_another_grid_is_found_out(bright, changes):
    self_test(bright, Towers(bright), 8)
    update = {"patch_grid": (4, 4)} | changes
    wrong = replace(bright, manifest=bright.manifest.model_copy(update=update))
    with pytest.raises(BundleCorrupt, match="says that the image tower gives"):
        self_test(wrong, Towers(wrong), 1)


@pytest.mark.parametrize("output", ["attention", "patches"])
def test_a_tower_without_the_output_of_a_map_is_found_out(bright, tmp_path, output):
    copy = replace(bright, path=shutil.copytree(bright.path, tmp_path / "bundle"))
    tower = onnx.load(copy.path / IMAGE_TOWER)
    tower.graph.output.remove(next(each for each in tower.graph.output if each.name == output))
    onnx.save(tower, copy.path / IMAGE_TOWER)
    with pytest.raises(BundleCorrupt, match="says that the image tower gives"):
        self_test(copy, Towers(copy), 1)


@pytest.fixture
def held(bright, monkeypatch):
    """An encoder whose tower waits in each call for maps, and how many of them ran at a time."""
    release, running, most = threading.Semaphore(0), [], []
    looked = Towers.looked

    def wait(towers, pixels):
        running.append(1)
        most.append(len(running))
        assert release.acquire(timeout=30)
        running.pop()
        return looked(towers, pixels)

    monkeypatch.setattr(Towers, "looked", wait)
    with open_encoder(bright, cache_items=100) as encoder:
        yield encoder, release, most
        release.release(100)


def test_many_maps_at_once_take_one_call_of_the_tower_and_leave_room_for_others(held, image):
    """Each took a call of its own, so that searches waited for all of them."""
    encoder, release, most = held
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(encoder.looked, image, Deadline(30)) for _ in range(6)]
        assert encoder.image(image, Deadline(30)).vector.shape == (
            encoder.bundle.manifest.dimension,
        )
        release.release(6)
        assert [answer.result()[1].attention.shape for answer in waiting] == [(GRID, GRID)] * 6
    assert max(most) == 1


def test_a_map_that_waits_is_given_up_at_its_deadline(held, image):
    encoder, release, _ = held
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(encoder.looked, image, Deadline(30))
        with pytest.raises(DeadlineExceeded):
            encoder.looked(image, Deadline(0.3))
        release.release(2)
        assert first.result()[1].patches is not None


@pytest.mark.slow
def test_in_int8_the_int8_graphs_give_the_maps(int8_demo, image, deadline):
    looked = {}
    for precision in ("fp32", "int8"):
        with open_encoder(int8_demo, cache_items=0, precision=precision) as encoder:
            _, looked[precision] = encoder.looked(image, deadline)
    for kind in ("attention", "patches"):
        exact, small = (getattr(looked[each], kind).ravel() for each in ("fp32", "int8"))
        assert not np.array_equal(exact, small)
        assert exact @ small / np.linalg.norm(exact) / np.linalg.norm(small) > 0.9
