import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes

from service.errors import ImageNotARadiograph
from service.imaging.decode import decode
from service.imaging.dicom.body_parts import described_regions, stated_regions
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS, element, item

PASSES = """
CHEST|THORAX|TORAX|TÓRAX|TORACE|RX TORAX|BRUST|BRUSTKORB|BORSTKAS|LUNG|LUNGS|LUNGE|LUNGEN|POUMON
POUMONS|PULMONES|POLMONI|PECHO|THX|CXR|CTHORAX|PCHEST|CHEST PA|CHEST_PA|CHEST, PA|CHEST^FRONTAL
CHESTAP|CHEST2V|Chest 2 views|Chest|THORAX AP BETT|THORAX_PA|THORAX LAT|HEMITHORAX|THORAKAL
THORACIC|PORTABLE CHEST|PORTABLE AP CHES|RIB|RIBS|L RIBS|RIBS LEFT|RIPPEN|COTES|COSTILLAS|STERNUM
HEART|HERZ|MEDIASTINUM|THORACICAORTA|BRONCHUS|CHEST ABDOMEN|CHESTABDOMEN|CHEST/ABD|CHESTABDPELVIS
CHEST TO PELVIS|NECKCHEST|NECKCHESTABDPELV|CHEST + HAND|WHOLEBODY|WHOLE BODY|BABYGRAM|SKELETON
TRUNK|UNKNOWN|OTHER|DEFAULT|BODY|XX|?|-|1|
"""
REFUSED = """
hand: HAND|HANDS|LHAND|RT HAND|LEFT HAND|HAND 3 VIEWS|HAND^LEFT|HANDPA|Hand|FINGER|THUMB|MAIN|MANO
wrist: WRIST|HANDGELENK|POIGNET|CARPAL
forearm: FOREARM|UNTERARM|RADIUS|ULNA|RADIUSULNA
elbow: ELBOW|ELLENBOGEN|COUDE|CODO
arm: ARM|RARM|HUMERUS|UPPERARM|OBERARM
shoulder: SHOULDER|RIGHT SHOULDER A|SCHULTER|EPAULE|HOMBRO|CLAVICLE|SCAPULA|ACJOINT|AXILLA
extremity: EXTREMITY|EXTREMITIES|LOWER EXTREMITIE|UPPER EXTREMITY|LEFT UPPER EXTRE|LOWER LIMB
extremity: EXTREMITÄT|UPPER_EXTREMITY|UP_EXM|LOWER_EXT|UEXT
leg: LEG|LEGS|FEMUR|TIBIA|FIBULA|TIBIAFIBULA|TIB/FIB|THIGH|CALF|UNTERSCHENKEL|JAMBE
knee: KNEE|KNEES|RKNEE|KNEE LAT|KNEELAT|KNIE|GENOU|RODILLA|PATELLA
ankle: ANKLE|SPRUNGGELENK|CHEVILLE
foot: FOOT|FEET|L FOOT|FUSS|FUß|PIED|TOE|HEEL|CALCANEUS|VORFUSS|GROSSZEHE|SESAMOID
hip: HIP|HIPS|HUEFTE|HÜFTE|HANCHE|CADERA
pelvis: PELVIS|PELVIS AP|BECKEN|BASSIN|SIJOINT|BLADDER
abdomen: ABDOMEN|ABDOMENPELVIS|ABD|ABDOMEN_1V|KUB|BAUCH|ADDOME|KIDNEY|LIVER|LARGEINTESTINE
spine: SPINE|CSPINE|TSPINE|T-SPINE|T SPINE|LSPINE|LSSPINE|CTSPINE|TLSPINE|SSPINE|L_SPINE
spine: THORACIC SPINE|SPINE, THORACIC|SPINE THORACIC|THORACOLUMBAR SP|LUMBO-SACRAL SPI|CERVICAL
spine: HWS|BWS|LWS|BRUSTWIRBELSÄULE|LENDENWIRBELSAEU|RACHIS DORSAL|COLUMNA TORACICA|COLONNA DORSALE
spine: SACRUM|COCCYX|Thoracic and lumbar spine
head: SKULL|HEAD|HEADNECK|SCHAEDEL|SCHÄDEL|CRANE|FACE|ORBIT|SINUS|NASAL BONES|BRAIN|EAR|MASTOID
jaw or teeth: JAW|MANDIBLE|MAXILLA|KIEFER|TEETH|TMJ
neck: NECK|HALS|LARYNX|THYROID
breast: BREAST|MAMMA
"""


def spellings(table):
    return [line.split("|") for line in table.strip().splitlines()]


PASSING = [spelling for row in spellings(PASSES) for spelling in row]
OTHERS = [
    (region, spelling)
    for row in spellings(REFUSED)
    for region, first in [row[0].split(": ")]
    for spelling in [first, *row[1:]]
]


def decoded(**elements):
    with disable_value_validation():
        return decode(
            dicom_bytes(dicom_dataset(SpecificCharacterSet="ISO_IR 192", **elements)), LIMITS
        )


def refusal(**elements) -> str:
    with pytest.raises(ImageNotARadiograph) as raised:
        decoded(**elements)
    return raised.value.detail


def coded(value="", scheme="", meaning="") -> Sequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return Sequence([code])


@pytest.mark.parametrize("spelling", PASSING)
def test_a_chest_and_an_unknown_body_part_pass(spelling):
    assert decoded(BodyPartExamined=spelling).view is None


@pytest.mark.parametrize(("region", "spelling"), OTHERS)
def test_another_body_part_is_refused_by_its_name(region, spelling):
    assert f"(BodyPartExamined) names another region, {region}." in refusal(
        BodyPartExamined=spelling
    )


def test_several_body_parts_pass_if_one_is_the_chest():
    assert decoded(BodyPartExamined=["ABDOMEN", "CHEST"])
    assert "abdomen" in refusal(BodyPartExamined=["ABDOMEN", "PELVIS"])


@pytest.mark.parametrize("keyword", ["AnatomicRegionSequence", "PrimaryAnatomicStructureSequence"])
@pytest.mark.parametrize(
    ("code", "region"),
    [
        (("T-D3000", "SRT", "Chest"), None),
        (("T-D3000", "SNM3", ""), None),
        (("T-28000", "99SDM", ""), None),
        (("51185008", "SCT", ""), None),
        (("816094009", "SCT", "Thorax"), None),
        (("39607008", "SCT", ""), None),
        (("113197003", "SCT", ""), None),
        (("416550000", "SCT", ""), None),
        (("38266002", "SCT", ""), None),
        (("302551006", "SCT", "Entire thorax"), None),
        (("RID1243", "RADLEX", "thorax"), None),
        (("BP7", "99LOCAL", ""), None),
        (("85562004", "99LOCAL", ""), None),
        (("T-D8700", "SRT", ""), "hand"),
        (("T-D8700", "SNM3", "Hand"), "hand"),
        (("85562004", "SCT", ""), "hand"),
        (("72696002", "SCT", "Chest"), "knee"),
        (("T-D0300", "SRT", ""), "extremity"),
        (("122495006", "SCT", ""), "spine"),
        (("T-11502", "SRT", ""), "spine"),
        (("818981001", "SCT", ""), "abdomen"),
        (("818982008", "SCT", ""), "abdomen"),
        (("89546000", "SCT", ""), "head"),
        (("51299004", "SCT", ""), "shoulder"),
        (("76752008", "SCT", ""), "breast"),
        (("RID2638", "RADLEX", "Foot"), "foot"),
        (("BP9", "99LOCAL", "Knie rechts"), "knee"),
    ],
)
def test_a_coded_region_decides_by_its_code_and_else_by_its_text(keyword, code, region):
    if region is None:
        assert decoded(**{keyword: coded(*code)})
    else:
        assert f"({keyword}) names another region, {region}." in refusal(**{keyword: coded(*code)})


def test_a_sides_modifier_is_no_region():
    region = coded("816094009", "SCT", "Chest")
    region[0].AnatomicRegionModifierSequence = coded("7771000", "SCT", "Left arm")
    assert decoded(AnatomicRegionSequence=region)


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": "CHEST", "StudyDescription": "XR HAND LEFT"},
        {"BodyPartExamined": "CHEST", "AnatomicRegionSequence": coded("85562004", "SCT", "Hand")},
        {"StudyDescription": "CHEST + HAND"},
        {"StudyDescription": "TRAUMA: PELVIS, C-SPINE", "SeriesDescription": "Chest AP"},
        {"StudyDescription": "PICC LINE, LEFT ARM"},
        {"StudyDescription": "ACUTE ABDOMEN SERIES"},
        {"StudyDescription": "PREOP HIP"},
        {"StudyDescription": "KNEE REPLACEMENT CLEARANCE"},
        {"StudyDescription": "Mamma-Ca, Staging"},
        {"StudyDescription": "PROSTATE CANCER"},
        {"StudyDescription": "LIVER TRANSPLANT"},
        {"StudyDescription": "PORT-A-CATH RIGHT NECK"},
        {"SeriesDescription": "HEAD OF BED 30"},
        {"SeriesDescription": "ARMS ABOVE HEAD"},
        {"SeriesDescription": "FEET FIRST"},
        {"StudyDescription": "HALS-NASEN-OHREN"},
        {"StudyDescription": "NASOGASTRIC PLACEMENT"},
        {"RequestedProcedureDescription": "Abdominal pain"},
        {"StudyDescription": "No Finding"},
        {"StudyDescription": "C-ARM"},
        {"StudyDescription": "MAIN HOSPITAL, BACK ENTRANCE"},
        {"ProtocolName": "AP DE PIE"},
        {"SeriesDescription": "FACE"},
        {"ProcedureCodeSequence": coded("36643-5", "LN", "XR Chest 2 Views")},
        {"ViewPosition": "PA"},
        {"ViewCodeSequence": coded("399162004", "SCT", "cranio-caudal")},
    ],
)
def test_descriptions_that_may_mean_a_chest_pass(elements):
    assert decoded(**elements)


@pytest.mark.parametrize(
    ("elements", "region"),
    [
        ({"StudyDescription": "XR HAND LEFT 2 VIEWS"}, "hand"),
        ({"BodyPartExamined": "", "StudyDescription": "XR Knee"}, "knee"),
        ({"BodyPartExamined": "UNKNOWN", "SeriesDescription": "Röntgen Knie rechts"}, "knee"),
        ({"StudyDescription": "Non-ossifying fibroma of distal tibia"}, "leg"),
        ({"ProtocolName": "Becken a.p."}, "pelvis"),
        ({"ProtocolName": "Main droite"}, "hand"),
        ({"ProtocolName": "OSG re."}, "ankle"),
        ({"ProtocolName": "OPG"}, "jaw or teeth"),
        ({"RequestedProcedureDescription": "ABD 1V"}, "abdomen"),
        ({"PerformedProcedureStepDescription": "KNEE 4V"}, "knee"),
        ({"AcquisitionDeviceProcessingDescription": "SKULL, LAT"}, "head"),
        ({"ProcedureCodeSequence": coded("37362-1", "LN", "XR Lumbar spine")}, "spine"),
        ({"PerformedProtocolCodeSequence": coded("P1", "99LOCAL", "Foot, 3 views")}, "foot"),
        ({"RequestedProcedureCodeSequence": coded("P2", "99LOCAL", "Ankle")}, "ankle"),
        ({"ViewPosition": "MLO"}, "breast"),
        ({"ViewCodeSequence": coded("399316002", "SCT", "")}, "head"),
    ],
)
def test_a_description_decides_where_no_statement_does(elements, region):
    assert f"names another region, {region}." in refusal(**elements)


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"BodyPartExamined": "RIBS"}, True),
        ({"SeriesDescription": "Thorax p.a."}, True),
        ({"StudyDescription": "LEG PAIN"}, False),
        ({"BodyPartExamined": "UNKNOWN", "ViewPosition": "PA"}, False),
        ({}, False),
    ],
)
def test_a_chest_is_named_or_only_not_excluded(elements, named):
    assert decoded(**elements).names_chest == named


def test_a_statement_outweighs_a_description():
    assert "knee" in refusal(BodyPartExamined="KNEE", StudyDescription="CHEST PA")


@pytest.mark.parametrize("keyword", ["BodyPartExamined", "StudyDescription", "SeriesDescription"])
@given(st.from_regex(r"[Q-Zq-z]{5,9}", fullmatch=True), st.sampled_from(["HAND", "Knee"]))
@settings(max_examples=30)
def test_no_text_of_the_header_is_in_the_error(keyword, name, part):
    said = refusal(**{keyword: f"{name}^{part}"})
    assert f"another region, {part.lower()}." in said
    assert name.casefold() not in said.casefold()


def test_every_common_region_of_the_standard_is_known():
    names = {code.meaning for code in codes.cid4031.concepts.values()}
    assert {name for name in names if not stated_regions(name)} == {"Phantom"}
    passing = {name for name in names if "chest" in stated_regions(name)}
    assert passing == {
        "Apex of Lung", "Bronchus", "Chest", "Chest and Abdomen", "Chest, Abdomen and Pelvis",
        "Entire body", "Esophagus", "Esophagus, stomach and duodenum", "Heart", "Mediastinum",
        "Neck and Chest", "Neck, Chest and Abdomen", "Neck, Chest, Abdomen and Pelvis", "Rib",
        "Sternoclavicular joint", "Sternum", "Trachea",
    }  # fmt: skip


@given(st.text(max_size=300))
def test_any_words_are_read(words):
    for read in (stated_regions, described_regions):
        assert all(region.replace(" ", "").isalpha() for region in read(words))


@pytest.mark.parametrize("vr", [b"UN", b"OB", b"UT", b"SQ"])
@pytest.mark.parametrize("tag", [0x00081030, 0x00081032, 0x00082218])
def test_a_region_of_a_wrong_type_is_unknown(tag, vr):
    data = dicom_bytes(dicom_dataset())
    start = data.index(b"\x28\x00\x02\x00US")
    malformed = element(tag, vr, item() if vr == b"SQ" else b"\x00\xff\xfeX")
    assert decode(data[:start] + malformed + data[start:], LIMITS).rows


def test_a_long_description_is_read():
    assert decoded(StudyDescription="word " * 2000)


def test_a_leg_is_refused(shared_data):
    with pytest.raises(ImageNotARadiograph, match=r"BodyPartExamined.*extremity"):
        decode((shared_data / "dicom_other" / "RG3_J2KR.dcm").read_bytes(), LIMITS)


def test_real_chests_pass(shared_data):
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        assert np.ptp(decode(path.read_bytes(), LIMITS).pixels) > 0
