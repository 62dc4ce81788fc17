"""Labels have codes that other programs know, or one of our own that is always the same."""

import json

import pytest
from pydicom.sr._concepts_dict import concepts  # the dictionary behind pydicom.sr.codedict.codes

from service.pacs.drafts.codes import OWN_SCHEME, finding_code
from tests.support.paths import ROOT
from training.data.phantom.findings import LABELS as PHANTOM

CHEXPERT = json.loads((ROOT / "training/configs/chexpert.labels.json").read_text())["chexpert"]
KNOWN = sorted({*PHANTOM, *CHEXPERT, "mass", "nodule", "effusion", "infiltration", "No Finding"})


@pytest.mark.parametrize("label", KNOWN)
def test_the_usual_labels_are_in_the_table(label):
    code = finding_code(label)
    assert not code.value.startswith("L-")
    assert len(code.value) <= 16
    assert len(code.meaning) <= 64


@pytest.mark.parametrize("label", KNOWN)
def test_a_code_means_what_dicoms_own_dictionary_says(label):
    code = finding_code(label)
    listed = concepts.get(code.scheme_designator, {})
    meanings = [codes[code.value][0] for codes in listed.values() if code.value in codes]
    assert not meanings or code.meaning in meanings
    assert meanings or code.scheme_designator in {"SCT", OWN_SCHEME}


def test_case_and_underscores_make_no_difference():
    assert finding_code("Pleural_Effusion") == finding_code("pleural effusion")
    assert finding_code("Edema") == finding_code("pulmonary edema")


@pytest.mark.parametrize("label", ["Swan-Ganz catheter", "a\\b\n" * 40, "", "\ud800"])
def test_any_other_label_has_a_code_of_our_own(label):
    code = finding_code(label)
    assert code == finding_code(label.upper())._replace(meaning=code.meaning)
    assert code.scheme_designator == OWN_SCHEME
    assert len(code.value) <= 16
    assert 0 < len(code.meaning) <= 64
    assert "\\" not in code.meaning
