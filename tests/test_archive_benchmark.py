"""The archive benchmark's own parts: its files, its measure of CPU time, and its verdicts."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pydicom import uid

from service.imaging.decode import ImageLimits, decode
from tests.benchmarks.archive import medians, read
from tests.benchmarks.archive_objects import MIX, dicom, mix, radiograph
from tests.benchmarks.archive_peers import OURS, commands, started
from tests.benchmarks.archive_tables import ratio, refusals, verdict
from tests.benchmarks.peers.dicom_readers import cpu_s

pytestmark = pytest.mark.slow

BUSY_S = 0.3
BURN = f"""
import sys, time
while time.process_time() < {BUSY_S}: pass
print("done", flush=True)
sys.stdin.read()
"""


def test_the_mixed_archive_holds_what_the_mix_states():
    assert Counter(mix(200)) == MIX
    assert Counter(mix(100)) == {syntax: count // 2 for syntax, count in MIX.items()}
    assert Counter(mix(400)) == {syntax: 2 * count for syntax, count in MIX.items()}


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLosslessSV1])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_object_follows_from_its_seed_and_is_a_radiograph(syntax, seed):
    data = dicom(syntax, radiograph((250, 200), seed), seed)
    assert decode(data, ImageLimits()).pixels.shape == (250, 200)
    if syntax == uid.ExplicitVRLittleEndian:  # dcmtk writes the time into what it compresses
        assert data == dicom(syntax, radiograph((250, 200), seed), seed)


def test_cpu_time_counts_children_while_they_live_and_after_they_were_waited_for():
    before = cpu_s()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=pipe, stdout=pipe) as child:
        child.stdout.readline()
        assert cpu_s() - before >= BUSY_S
    assert cpu_s() - before >= BUSY_S


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    (tmp_path / "text.dcm").write_text("no image")
    native = dicom(uid.ExplicitVRLittleEndian, radiograph((250, 200), 1), 1)
    (tmp_path / "native.dcm").write_bytes(native)
    return {name: tmp_path / f"{name}.dcm" for name in ("native", "text")}


def test_a_reader_answers_what_an_image_costs_or_which_error_it_raised(files, tmp_path):
    with started({OURS: commands(None, None)[OURS]}, tmp_path / "log") as readers:
        costs = medians(read(readers, files, rounds=2))
    assert 0 < costs["native"][OURS]["read_ms"] < costs["native"][OURS]["cpu_ms"]
    assert refusals(costs) == f"{OURS} cannot read, ImageUnsupported: text"
    assert readers[OURS].process.returncode == 0


def test_a_target_is_missed_where_one_of_the_two_cannot_read():
    fast, slow = {"cpu_ms": 10.0}, {"cpu_ms": 120.0}
    assert verdict(ratio(slow, fast), 12) == "12: met"
    assert verdict(ratio(slow, fast), 12.5) == "12.5: missed"
    assert verdict(ratio("ImageUnsupported", fast), 1.5) == "1.5: missed"
    assert verdict(ratio(slow, fast), None) == ""
