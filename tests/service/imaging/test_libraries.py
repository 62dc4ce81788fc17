import io
import logging
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import config, misc

from service.errors import ImageTooLarge
from service.imaging.decode import ImageLimits, decode
from service.imaging.libraries import decoding
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, picture, ramp
from tests.support.archive import ENCODERS, archived

STATE = """
import json, logging, pkgutil, sys, warnings
import numpy, pydantic, pydicom, pydicom.pixels.utils
from PIL import Image
def state():
    return {{
        "pixels": Image.MAX_IMAGE_PIXELS,
        "pydicom": repr(sorted(vars(pydicom.config.settings).items())),
        "config": repr(sorted((k, v) for k, v in vars(pydicom.config).items() if k.islower())),
        "warnings": repr((warnings.filters, pydicom.misc.warnings)),
        "levels": [logging.getLogger(name).level for name in ("", "PIL", "pydicom")],
    }}
before = state()
import service.imaging
for module in pkgutil.walk_packages(service.imaging.__path__, "service.imaging."):
    __import__(module.name)
{then}
assert state() == before, (before, state())
"""
DECODE = """
from service.imaging.decode import ImageLimits, decode
decode(sys.stdin.buffer.read(), ImageLimits())
"""


@pytest.mark.parametrize("then", ["", DECODE], ids=["imported", "imported and used"])
def test_the_importing_process_keeps_its_settings(then):
    subprocess.run(
        [sys.executable, "-c", STATE.format(then=then)],
        input=dicom_bytes(dicom_dataset()),
        check=True,
    )


def settings():
    return (
        Image.MAX_IMAGE_PIXELS,
        config.settings.reading_validation_mode,
        logging.getLogger("pydicom").level,
        logging.getLogger("PIL").level,
        misc.warnings,
        list(warnings.filters),
    )


def test_the_settings_hold_until_the_last_of_several_threads_has_left():
    before, entered, leave = settings(), threading.Barrier(3), threading.Event()

    def stay():
        with decoding:
            entered.wait(10)
            leave.wait(10)
            return settings()

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(stay) for _ in range(2)]
        with decoding:
            during = settings()
            entered.wait(10)
        assert settings() == during
        leave.set()
        assert [other.result(10) for other in others] == [during, during]
    assert during[:4] == (None, config.IGNORE, logging.CRITICAL + 1, logging.WARNING)
    assert settings() == before


INTERLEAVED = """
import sys, warnings
from service.imaging.decode import ImageLimits, decode
from service.imaging.libraries import decoding
other = warnings.catch_warnings()
other.__enter__()
with decoding:
    other.__exit__(None, None, None)
    decode(sys.stdin.buffer.read(), ImageLimits())
"""


def test_pydicom_is_silent_after_another_thread_has_restored_its_warning_filters():
    """One thread runs the steps of two: the filters belong to the process."""
    data = dicom_bytes(dicom_dataset(SpecificCharacterSet="ISO_IR 100")).replace(
        b"ISO_IR 100", b"Doe^Canary"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", INTERLEAVED],
        input=data,
        capture_output=True,
        check=True,
    )
    assert b"Doe^Canary" in data
    assert (ended.stdout, ended.stderr) == (b"", b"")


def test_all_warnings_of_pydicom_are_given_by_one_module():
    """The one that `decoding` silences."""
    package = Path(pydicom.__file__).parent
    warning = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\bwarnings\.warn|from warnings import", path.read_text(encoding="utf-8"))
    }
    assert {path for path in warning if not path.startswith("tests/")} == {"misc.py"}


def test_a_filter_that_is_added_meanwhile_stays():
    with warnings.catch_warnings():
        with decoding:
            warnings.filterwarnings("ignore", message="added meanwhile")
            added = warnings.filters[0]
        assert warnings.filters[0] == added


def test_the_settings_are_restored_after_an_error():
    before = settings()
    with pytest.raises(RuntimeError), decoding:
        raise RuntimeError
    assert settings() == before


def test_our_limit_of_pixels_decides_above_and_below_pillows(monkeypatch):
    """With Pillow's at 100, its guard would refuse more than 200."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for format in ("PNG", "JPEG"):
        data = picture(Image.fromarray(ramp()), format)
        assert decode(data, ImageLimits()).pixels.shape == ramp().shape
        with pytest.raises(ImageTooLarge):
            decode(data, ImageLimits(max_pixels=1000))
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(data))


DECODE_HERE = """
import sys
from pathlib import Path
from service.imaging.decode import ImageLimits, decode
for file in eval(sys.stdin.readline()):
    decode(file, ImageLimits())
mapped = Path("/proc/self/maps").read_text().split()
print(*sorted({Path(path).name.split("-")[0] for path in mapped if "imagecodecs.libs" in path}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_of_the_libraries_of_imagecodecs_the_service_loads_one():
    pixels = ramp(np.uint16, 1000)
    files = [archived(syntax, pixels) for syntax in ENCODERS]
    done = subprocess.run(
        [sys.executable, "-c", DECODE_HERE], input=repr(files).encode(), capture_output=True
    )
    assert done.stdout.split() == [b"libjpeg"], done.stderr.decode()
