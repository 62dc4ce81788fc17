import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ComputedRadiographyImageStorage

from service.bundle.preprocess import ImageSpec
from training.data.reading import ImageUnreadable, read_pair, study_pairs
from training.data.study import ManifestStudy

SPEC = ImageSpec(height=32, width=32)
STUDY = ManifestStudy("s1", "p1", "test", ("images/a.png",), "Normal.")


def encoded(kind):
    file = io.BytesIO()
    levels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(levels).save(file, kind)
    return file.getvalue()


PNG, JPEG = encoded("PNG"), encoded("JPEG")
DICOM = b"\0" * 128 + b"DICM" + ComputedRadiographyImageStorage.encode()


@pytest.fixture
def image(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images" / "a.png"


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", PNG[: len(PNG) // 2], JPEG[:40], DICOM, DICOM[:132], b"<html>404</html>"],
    ids=["zero bytes", "text", "half a PNG", "JPEG", "DICOM", "only a preamble", "a web page"],
)
def test_a_damaged_image_is_named_with_its_study_and_the_reason(image, tmp_path, data):
    image.write_bytes(data)
    with pytest.raises(ImageUnreadable) as caught:
        read_pair(tmp_path, STUDY, SPEC, None)
    assert str(caught.value).startswith("cannot read images/a.png of study 's1': ")
    assert caught.value.image == "images/a.png"
    assert len(caught.value.reason) > 10


def test_a_file_that_cannot_be_opened_is_named(image, tmp_path):
    with pytest.raises(ImageUnreadable, match=r"a\.png of study 's1': No such file or directory"):
        read_pair(tmp_path, STUDY, SPEC, None)
    image.mkdir()
    with pytest.raises(ImageUnreadable, match=r"a\.png of study 's1': Is a directory"):
        read_pair(tmp_path, STUDY, SPEC, None)
    with pytest.raises(ImageUnreadable, match=r"a\0\.png of study 's1'"):
        read_pair(tmp_path, replace(STUDY, images=("a\0.png",)), SPEC, None)


def test_a_file_without_permission_is_named(image, tmp_path, monkeypatch):
    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    image.write_bytes(PNG)
    monkeypatch.setattr(type(image), "open", refused)
    with pytest.raises(ImageUnreadable, match=r"a\.png of study 's1': Permission denied"):
        read_pair(tmp_path, STUDY, SPEC, None)


def test_the_first_damaged_image_of_many_is_named(image, tmp_path):
    image.write_bytes(PNG)
    (tmp_path / "images" / "b.png").write_bytes(PNG[:-40])
    studies = [STUDY, replace(STUDY, study_id="s2", images=("images/b.png",))]
    with pytest.raises(ImageUnreadable, match=r"images/b\.png of study 's2'"):
        study_pairs(studies, tmp_path, SPEC)
