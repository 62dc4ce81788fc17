import base64
import io
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image

from service.bundle.preprocess import ImageSpec
from service.inference.maps import Mapper
from service.settings import Settings
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture
from tests.service.inference.conftest import open_encoder
from tests.support.map_bundles import BRIGHT, GRID, bright_bundle, quality, with_maps
from tests.support.server import in_process

ROWS, COLUMNS = 150, 100
SPOT = (slice(70, 90), slice(60, 80))
"""Where `spotted` is bright, rows and columns: cells (4, 5) of the model's input."""
VALIDATED = {"attention": quality(0.1), "text": quality(0.2, "gaze")}


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """Shows the middle 100 × 100 of an image of 150 × 100."""
    spec = ImageSpec(height=64, width=64)
    return bright_bundle(tmp_path_factory.mktemp("bright") / "bundle", spec)


@pytest.fixture(scope="module")
def serving(client):
    """Gives the app with another bundle."""
    with ExitStack() as stack:

        def open_app(bundle):
            encoder = stack.enter_context(open_encoder(bundle, cache_items=100))
            parts = {"bundle": bundle, "encoder": encoder, "mapper": Mapper(encoder)}
            wired = replace(client.app.state.services, **parts)
            return stack.enter_context(in_process(Settings(), wired))

        yield open_app


@pytest.fixture(scope="module")
def both(serving, bright):
    return serving(with_maps(bright, "attention", "text", **VALIDATED))


@pytest.fixture(scope="module")
def unmeasured(serving, bright):
    return serving(with_maps(bright, "attention", "text"))


def spotted():
    levels = np.full((ROWS, COLUMNS), 60, np.uint8)
    levels[SPOT] = 230
    return levels


@pytest.fixture(scope="module")
def image():
    return picture(Image.fromarray(spotted()), "PNG")


def ask(client, image, **data):
    return client.post("/attention", files={"files": image}, data=data)


def shown(answer):
    """The overlay's colours, int[rows, columns, 3]."""
    opened = Image.open(io.BytesIO(base64.b64decode(answer.json()["overlay"])))
    assert opened.format == "PNG"
    return np.asarray(opened).astype(int)


def test_without_a_text_the_answer_is_where_the_model_looked(both, image):
    answer = ask(both, image).json()
    assert list(answer["maps"]) == ["attention"]
    of = answer["maps"]["attention"]
    grid = np.array(of["grid"])
    assert np.unravel_index(grid.argmax(), grid.shape) == (4, 5)
    assert grid.sum() == pytest.approx(1)
    assert (of["validated"], of["caution"]) == (True, None)
    assert of["quality"]["against"] == "lesion"
    assert of["quality"]["pointing_game"]["centre_prior"] == 0.6
    assert answer["covers"] == {"left": 0, "top": 25, "width": 100, "height": 100}
    assert answer["radiograph"] == {"rows": 150, "columns": 100, "pixel_spacing_mm": None}
    assert answer["overlay"] is None


def test_with_a_text_its_map_is_there_too(both, image):
    maps = ask(both, image, text=BRIGHT).json()["maps"]
    assert list(maps) == ["attention", "text"]
    assert np.array(maps["text"]["grid"]).argmax() == 4 * GRID + 5
    assert maps["text"]["quality"]["against"] == "gaze"


def test_the_three_forms_of_a_request_say_the_same(both, image, in_base64):
    form = ask(both, image, text=BRIGHT, overlay="text").json()
    raw = both.post("/attention", params={"text": BRIGHT, "overlay": "text"}, content=image).json()
    body = {"images": [{"data": in_base64(image)}], "text": BRIGHT, "overlay": "text"}
    assert form == raw == both.post("/attention", json=body).json()


@pytest.mark.parametrize("kind", ["attention", "text", "true"])
def test_the_overlay_is_the_whole_radiograph_tinted_at_the_spot(both, image, kind):
    levels = shown(ask(both, image, text=BRIGHT, overlay=kind))
    assert levels.shape == (512, 341, 3)
    tint = levels[..., 0] - levels[..., 2]
    row, column = np.unravel_index(tint.argmax(), tint.shape)
    assert SPOT[0].start <= row * ROWS / 512 <= SPOT[0].stop
    assert SPOT[1].start <= column * ROWS / 512 <= SPOT[1].stop
    assert (tint[: 24 * 512 // ROWS] == 0).all()  # the model saw nothing of this


def turned():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return picture(Image.fromarray(np.rot90(spotted())), "JPEG", exif=exif, quality=95)


def inverted():
    stored = 255 - spotted()
    elements = {"PhotometricInterpretation": "MONOCHROME1", "ImagerPixelSpacing": [0.2, 0.2]}
    return dicom_bytes(dicom_dataset(stored, **elements))


@pytest.mark.parametrize(("file", "spacing"), [(turned, None), (inverted, [0.2, 0.2])])
def test_the_overlay_lies_as_the_rendition_of_a_stored_study_does(
    unmeasured, writable, file, spacing
):
    answer = ask(unmeasured, file(), overlay="attention", accept="unvalidated")
    size = {"rows": ROWS, "columns": COLUMNS, "pixel_spacing_mm": spacing}
    assert answer.json()["radiograph"] == size
    writable.put("/studies/s1", files={"files": file()}, data={"report": "Clear."})
    rendition = Image.open(io.BytesIO(writable.get("/studies/s1/image").content))
    blue = Image.fromarray(shown(answer)[..., 2].astype(np.uint8)).resize(rendition.size)
    apart = np.abs(np.asarray(blue).astype(int) - np.asarray(rendition.convert("L")))
    assert np.median(apart) <= 2


def test_the_answer_warns_of_what_may_be_no_upright_chest(both):
    elements = {"PatientOrientation": ["R", "F"]}
    answer = ask(both, dicom_bytes(dicom_dataset(spotted(), **elements))).json()
    assert sum("mirrored" in warning for warning in answer["warnings"]) == 1


def test_what_was_never_measured_is_said_to_be_unvalidated(unmeasured, image):
    for of in ask(unmeasured, image, text=BRIGHT).json()["maps"].values():
        assert (of["validated"], of["quality"]) == (False, None)
        assert "Nobody has measured" in of["caution"]


def test_an_unvalidated_map_is_drawn_only_if_the_request_accepts_it(
    serving, bright, problem, image
):
    measured = {"attention": quality(0.1), "text": quality(-0.1)}
    app = serving(with_maps(bright, "attention", "text", **measured))
    refused = problem(ask(app, image, text=BRIGHT, overlay="text"), 422, "map/unvalidated")
    assert "no better than the middle of the image" in refused["detail"]
    assert "accept=unvalidated" in refused["detail"]
    plain = shown(ask(app, image, text=BRIGHT, overlay="attention"))
    marked = shown(ask(app, image, text=BRIGHT, overlay="text", accept="unvalidated"))
    assert (plain[:40] == plain[0, 0]).all()
    assert not (marked[:40] == marked[0, 0]).all()  # the picture says it too


@pytest.mark.parametrize(
    ("kinds", "data", "error"),
    [
        ((), {}, "bundle/no-patches"),
        ((), {"text": "Nodule."}, "bundle/no-patches"),
        (("attention",), {"text": "Nodule."}, "bundle/no-patches"),
        (("text",), {"text": "Nodule.", "overlay": "attention"}, "bundle/no-patches"),
        (("text",), {}, "text/invalid"),
        (("text",), {"overlay": "true"}, "text/invalid"),
        (("attention", "text"), {"overlay": "text"}, "text/invalid"),
        (("attention", "text"), {"text": " "}, "text/invalid"),
        (("attention", "text"), {"overlay": "perhaps"}, "request/malformed"),
        (("attention", "text"), {"accept": "anything"}, "request/malformed"),
    ],
)
def test_what_cannot_be_mapped_or_drawn_is_said(
    serving, bright, problem, image, kinds, data, error
):
    status = 400 if error == "request/malformed" else 422
    problem(ask(serving(with_maps(bright, *kinds)), image, **data), status, error)


def test_a_bundle_of_format_1_has_the_map_of_its_last_tokens_never_measured(serving, bright, image):
    changes = {"format": 1, "patches": "last_token", "has_attention": False, "map_quality": {}}
    old = replace(bright, manifest=bright.manifest.model_copy(update=changes))
    maps = ask(serving(old), image, text=BRIGHT).json()["maps"]
    assert list(maps) == ["text"]
    assert maps["text"]["validated"] is False


def test_exactly_one_image_is_needed(client, problem):
    problem(client.post("/attention", json={"text": "Nodule."}), 400, "request/malformed")
