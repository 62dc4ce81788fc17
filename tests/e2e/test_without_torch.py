"""The service is slim: it neither needs nor imports what only training has."""

import subprocess
import sys
from importlib.metadata import requires

from packaging.requirements import Requirement

TRAINING_ONLY = ("torch", "torchvision", "open_clip", "open_clip_torch", "transformers", "onnx")
START = """
import pkgutil, sys
for name in {blocked}:
    sys.modules[name] = None  # importing it raises ImportError
import service
for module in pkgutil.walk_packages(service.__path__, "service."):
    if module.name != "service.imaging.dicom.gdcm_process":
        __import__(module.name)
from service.app import open_services
from service.settings import Settings
from pathlib import Path
with open_services(Settings(data_dir=Path(sys.argv[1]))) as wired:
    assert wired.encoder.healthy
"""


def test_every_module_imports_and_the_service_opens_with_torch_absent(tmp_path):
    blocked = (*TRAINING_ONLY, "training")
    program = START.format(blocked=blocked)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)


def needed(name, extra=""):
    """Names of all distributions that `name[extra]` pulls in."""
    found, open_ones = set(), [(name, extra)]
    while open_ones:
        current, wanted = open_ones.pop()
        for text in requires(current) or []:
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": wanted})
            if applies and requirement.name not in found:
                found.add(requirement.name)
                open_ones += [(requirement.name, e) for e in ("", *requirement.extras)]
    return found


def test_installing_the_service_installs_no_torch():
    service = needed("eclip-radiology", "cpu")
    assert {"fastapi", "onnxruntime", "qdrant-edge-py", "starlette"} <= service
    assert service.isdisjoint(TRAINING_ONLY)
