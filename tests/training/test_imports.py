"""What answers a question about a recipe or the command line does not load torch."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = "torch", "open_clip", "pytorch_lightning", "transformers", "webdataset"
LOADED = "import sys, {module}; print([name for name in {names!r} if name in sys.modules])"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("training.recipe", HEAVY),
        ("training.data.dataset", HEAVY),
        ("training.data.pairs", HEAVY),
        ("training.cli", (*HEAVY, "numpy", "pyarrow", "sklearn", "matplotlib")),
    ],
)
def test_it_loads_without(module, names):
    command = [sys.executable, "-c", LOADED.format(module=module, names=names)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
