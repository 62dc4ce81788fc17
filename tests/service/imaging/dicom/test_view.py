import pytest
from pydicom.config import disable_value_validation

from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS
from tests.service.imaging.dicom.test_region import coded


def view(**elements):
    with disable_value_validation():
        return decode(dicom_bytes(dicom_dataset(**elements)), LIMITS).view


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        *((each, "PA") for each in ("PA", "pa", "PA ERECT", "POSTERO_ANTERIOR", "P-A")),
        *((each, "AP") for each in ("AP", "AP SUPINE", "ANTEROPOSTERIOR", "A.P.", "AP_PORTABLE")),
        *((each, "LATERAL") for each in ("LL", "RL", "LAT", "LATERAL", "L", "R", "L LAT", "LLAT")),
        *((each, "LATERAL") for each in ("LEFT LATERAL", "LATERAL_L", "RLAT", "PROFIL", "Lateral")),
        *((each, "LATERAL DECUBITUS") for each in ("LLD", "RLD", "L LAT DECUB", "DECUBITUS")),
        *((each, "OBLIQUE") for each in ("RLO", "LLO", "RAO", "LPO", "LAT OBLIQUE", "OBL")),
        *((each, None) for each in ("", "UNKNOWN", "DOE^JOHN", "PA AND LATERAL", "BILATERAL", "1")),
    ],
)
def test_a_view_is_named_in_our_words(position, expected):
    assert view(ViewPosition=position) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (("R-10214", "SRT", "postero-anterior"), "PA"),
        (("R-40888", "SRT", ""), "PA"),
        (("272479007", "SCT", ""), "PA"),
        (("R-10206", "SRT", ""), "AP"),
        (("399348003", "SCT", ""), "AP"),
        (("R-10236", "SRT", ""), "LATERAL"),
        (("R-10232", "SNM3", ""), "LATERAL"),
        (("R-102CD", "SRT", ""), "LATERAL"),
        (("399260004", "SCT", ""), "LATERAL"),
        (("399198007", "SCT", ""), "LATERAL"),
        (("399173006", "SCT", "antero-posterior"), "LATERAL"),
        (("399135007", "SCT", ""), "OBLIQUE"),
        (("399368009", "SCT", ""), "OBLIQUE"),
        (("V1", "99LOCAL", "lateral"), "LATERAL"),
        (("V2", "99LOCAL", "Doe"), None),
    ],
)
def test_a_coded_view_is_read_where_the_position_says_nothing(code, expected):
    assert view(ViewCodeSequence=coded(*code)) == expected
    assert view(ViewPosition="AP", ViewCodeSequence=coded(*code)) == "AP"


@pytest.mark.parametrize(
    ("directions", "expected"),
    [
        (["A", "F"], "LATERAL"),
        (["P", "F"], "LATERAL"),
        (["AL", "FP"], "LATERAL"),
        (["F", "A"], "LATERAL"),
        (["L", "F"], None),
        (["R", "H"], None),
        (["A", "L"], None),
        (["A"], None),
        ("", None),
        (["A", "F", "F"], None),
    ],
)
def test_directions_show_a_lateral_where_nothing_else_does(directions, expected):
    assert view(PatientOrientation=directions) == expected
    assert view(PatientOrientation=directions, ViewPosition="PA") == "PA"
