"""Compares the rendition of every shape of object that an archive holds with dcmtk's.

Where dcmtk renders a file otherwise, docs/dicom.md says by which clause of the standard, and the
file is compared with one that says the same in a way that dcmtk reads.

`python -m pytest -s tests/service/imaging/dicom/test_reference.py` prints how far they differ.
"""

import sys

import pydicom
import pytest

from tests.support.paths import ROOT
from tests.support.reference import MISSING, RANGE, WINDOW, Case
from tests.support.reference_cases import GROUPS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs dcmtk ({', '.join(MISSING)})"),
]
MOST = 1.0
"""Gray levels of 256 by which a pixel may differ."""
_PAGE = (ROOT / "docs/dicom.md").read_text(encoding="utf-8")
_FEWEST = {"transfer syntaxes": 50, "files of dcmtk": 20}
"""Group → the least number of its files, so that no change of the tests loses them."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", GROUPS)
def test_each_rendition_is_dcmtks(group):
    differences, wrong = [], []
    for name, case in GROUPS[group]():
        assert case.clause in _PAGE, f"docs/dicom.md does not explain {name}"
        try:
            differences.append(case.difference())
        except Exception as error:
            wrong.append(f"{name}: {error}")
        else:
            if differences[-1] > MOST:
                wrong.append(f"{name}: {differences[-1]:.1f} levels")
    assert not wrong, "\n".join(wrong)
    assert len(differences) >= _FEWEST.get(group, 3)
    _say(group, differences)


def test_each_radiograph_of_the_shared_data_is_dcmtks(shared_data):
    differences = []
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        data = path.read_bytes()
        windowed = "WindowCenter" in pydicom.dcmread(path, force=True)
        differences.append(Case(data, WINDOW if windowed else RANGE).difference())
    assert differences
    assert max(differences) <= MOST
    _say("shared data", differences)


def _say(group: str, differences: list[float]) -> None:
    sys.stdout.write(
        f"\n{group}: {len(differences)} files, at most {max(differences):.2f} levels of 256"
    )
