"""Where memory is short, an image is not called damaged, and the process lives on."""

import subprocess
import sys

import pytest

from service.errors import ImageUndecodable, MemoryShort
from service.imaging import decoder_processes
from service.imaging.decode import ImageLimits, decode
from tests.support.footprint import KINDS

PROGRAM = """
import resource, sys
from service.errors import MemoryShort
from service.imaging.decode import ImageLimits, decode
from tests.support.footprint import KINDS, SPEC, resident

data, small = KINDS[sys.argv[1]](1500), KINDS[sys.argv[1]](300)
decode(small, ImageLimits(), SPEC)
now, outcomes = resident("VmSize"), []
for more in (1, 4, 8, 16, 24, 32, 48, 64, 96, 512):
    resource.setrlimit(resource.RLIMIT_AS, (now + more * 2**20, resource.RLIM_INFINITY))
    try:
        decode(data, ImageLimits(), SPEC)
        outcomes.append("decoded")
    except MemoryShort:
        outcomes.append("short")
print(outcomes[0], outcomes[-1], *sorted(set(outcomes)))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and lowers RLIMIT_AS")
@pytest.mark.parametrize(
    "kind", ["png L", "png RGBA", "png I;16", "jpeg RGB, progressive", "dicom 16", "dicom RLE",
             "dicom JPEG 2000", "dicom JPEG-LS", "dicom lossless JPEG", "dicom HTJ2K",
             "dicom JPEG XL"],
)  # fmt: skip
def test_a_process_with_little_memory_decodes_or_says_that_it_is_short(kind):
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["short", "decoded", "decoded", "short"]


@pytest.mark.parametrize("error", [MemoryError, MemoryError("of a decoder process")])
def test_a_decoder_process_that_was_short_of_memory_is_no_damage(monkeypatch, error):
    def decoded(*_):
        raise error

    monkeypatch.setattr(decoder_processes, "decode", decoded)
    with pytest.raises(MemoryShort):
        decode(KINDS["dicom JPEG-LS"](64), ImageLimits())


def test_damage_is_damage_only_where_there_was_memory(monkeypatch):
    """Some decoders call a file damaged when they get no memory."""
    whole = KINDS["jpeg RGB"](300)
    damaged, asked = whole[: len(whole) // 2], []

    def require(size):
        asked.append(size)
        if len(asked) > 1:
            raise MemoryShort("")

    with pytest.raises(ImageUndecodable):
        decode(damaged, ImageLimits())
    monkeypatch.setattr("service.imaging.decode.require", require)
    with pytest.raises(MemoryShort):
        decode(damaged, ImageLimits())
    assert asked[0] == asked[1] > 0
