"""What decoding takes of the memory is never more than what is estimated from the header."""

import subprocess
import sys

import pytest

from tests.support.footprint import KINDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_file_takes_more_memory_than_is_estimated(kind):
    program = [sys.executable, "-m", "tests.support.footprint", kind, "2000"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    estimated, taken = map(int, done.stdout.split())
    assert taken <= estimated
    assert estimated < 6 * taken, "far more is reserved than is needed"
