#!/usr/bin/env bash
# ONNX Runtime's Linux wheel sets up reporting to its maker when it is imported.
#
# Expected: importing an inference library writes nothing and identifies nobody.
# Happens: on import, without a question or a message, the wheel writes an identifier of the device
#   and a database of events below the user's cache folder, and starts a thread. Its library holds
#   the address that the events are for. disable_telemetry_events() comes too late: the files are
#   there.
# Why it matters: a hospital's server is not meant to report to a stranger that it runs a model, and
#   an identifier of the machine in its home is one thing more to explain in a review. We saw no
#   connection in the first seconds of a session.
# What we do: set ORT_DISABLE_TELEMETRY=1 before the import (service/__init__.py), with a test.
#
# Seen:
#   onnxruntime 1.32.0
#   by default: 1 thread more, ['.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid',
#     '.cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db']
#   disable_telemetry_events() after the import:
#     ['.cache/Microsoft/DeveloperTools/.onnxruntime/deviceid',
#     '.cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db']
#   ORT_DISABLE_TELEMETRY=1 before the import: []
#   address of a collector in the wheel: True
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check onnxruntime==1.32.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path


def expect(holds, change):
    if not holds:
        sys.exit(f"Changed: {change}")


IMPORT = """
import os
import onnxruntime
if "LATE" in os.environ:
    onnxruntime.disable_telemetry_events()
print(len(os.listdir("/proc/self/task")))
"""


def imported(home, **variables):
    """Returns the number of threads after the import and the files that it left in a new home."""
    Path(home).mkdir()
    kept = {
        k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    environment = {**kept, "HOME": str(Path(home).resolve()), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True, check=True
    )
    files = sorted(str(f.relative_to(home)) for f in Path(home).rglob("*") if f.is_file())
    return int(done.stdout), files


package = distribution("onnxruntime")
print("onnxruntime", package.version)
default, late = imported("default"), imported("late", LATE="1")
silent = imported("silent", ORT_DISABLE_TELEMETRY="1")
print("by default:", default[0] - silent[0], "thread more,", default[1])
print("disable_telemetry_events() after the import:", late[1])
print("ORT_DISABLE_TELEMETRY=1 before the import:", silent[1])
libraries = [Path(f.locate()) for f in package.files if f.name.endswith(".so") or ".so." in f.name]
address = any(b"/OneCollector/" in library.read_bytes() for library in libraries)
print("address of a collector in the wheel:", address)

expect(any(f.endswith("deviceid") for f in default[1]), "no device identifier is written")
expect(any(f.endswith("onnxruntime.db") for f in default[1]), "no database of events is written")
expect(default[0] > silent[0], "no thread is started")
expect(late[1], "disabling after the import is early enough")
expect(silent[1] == [], "ORT_DISABLE_TELEMETRY=1 no longer silences it")
expect(address, "the wheel holds no collector's address")
PYTHON
