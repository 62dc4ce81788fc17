"""The service needs and imports nothing that only training has."""

import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

TRAINING_ONLY = ("torch", "torchvision", "open_clip", "open_clip_torch", "transformers", "onnx")
START = """
import pkgutil, sys
for name in {blocked}:
    sys.modules[name] = None  # importing it raises ImportError
import service
for module in pkgutil.walk_packages(service.__path__, "service."):
    __import__(module.name)
from service.wiring import open_services
from service.settings import Settings
from pathlib import Path
with open_services(Settings(data_dir=Path(sys.argv[1]))) as wired:
    assert wired.encoder.healthy
"""


@pytest.mark.slow
def test_every_module_imports_and_the_service_opens_with_torch_absent(tmp_path):
    blocked = (*TRAINING_ONLY, "training")
    program = START.format(blocked=blocked)
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)


def needed(name, extra=""):
    """Returns the names of all distributions that `name[extra]` installs."""
    names, unread = set(), [(name, extra)]
    while unread:
        current, extra = unread.pop()
        for requirement in map(Requirement, requires(current) or []):
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if applies and requirement.name not in names:
                names.add(requirement.name)
                unread += [(requirement.name, more) for more in ("", *requirement.extras)]
    return names


def test_installing_the_service_installs_no_torch():
    service = needed("eclip-radiology", "cpu")
    assert {"fastapi", "onnxruntime", "qdrant-edge-py", "starlette"} <= service
    assert service.isdisjoint(TRAINING_ONLY)
