"""What we depend on sends nothing about its use to its makers."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

SEEN = """
import os, sys
def see(event, arguments):
    if event == "import" and arguments[0] == "onnxruntime":
        print(os.environ.get("ORT_DISABLE_TELEMETRY"))
        os._exit(0)
sys.addaudithook(see)
import {module}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["service.inference.session", "training.export.graphs", "training.evaluate.encode"]
)
def test_onnx_runtime_reports_nothing_from_its_import_on(module):
    variables = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-c", SEEN.format(module=module)]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
