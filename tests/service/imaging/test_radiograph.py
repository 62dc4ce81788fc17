from dataclasses import asdict

import numpy as np
from PIL import Image

from service.imaging.decode import ImageLimits, decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp

LIMITS = ImageLimits()
DEEP = picture(Image.fromarray(ramp(np.uint16, 4095)), "PNG")


def test_a_reduced_radiograph_keeps_its_facts():
    whole = decode(DEEP, LIMITS)
    small = whole.reduced(24)
    thumbnail = Image.fromarray((whole.pixels >> 8).astype(np.uint8))
    thumbnail.thumbnail((24, 24))
    np.testing.assert_array_equal(small.pixels, np.asarray(thumbnail))
    assert small.facts == whole.facts
    assert (small.rows, small.columns) == whole.pixels.shape


def test_facts_are_a_radiograph_without_pixels():
    radiograph = decode(dicom_bytes(dicom_dataset()), LIMITS)
    facts = asdict(radiograph.facts)
    assert set(asdict(radiograph)) - set(facts) == {"pixels", "whole", "extent"}
    assert facts == {name: value for name, value in asdict(radiograph).items() if name in facts}
