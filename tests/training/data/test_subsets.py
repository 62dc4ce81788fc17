import random
from dataclasses import replace

import pytest

from training.data.labels import CHEXPERT, NO_FINDING, as_uncertain
from training.data.sources import SOURCES
from training.data.sources.chexpert_labels import chexpert_findings, chexpert_metadata
from training.data.sources.nih_cxr14 import SOURCE as NIH
from training.data.sources.table import Row
from training.data.study import ManifestStudy
from training.data.subsets import SUBSETS, Subset, SubsetError, choose, draw

LISTED = ("edema", "consolidation", NO_FINDING)
SMALL = Subset("chexpert", LISTED, 3, (*LISTED, "support devices"))


def study(number, *findings, **fields):
    values = {"images": (f"train/p{number}/study1/view1_frontal.jpg",), "findings": findings}
    return ManifestStudy(f"s{number}", f"p{number}", "chexpert", report="", **values | fields)


def pool(each, subset=SMALL):
    return [
        study(f"{index}-{finding}", finding) for finding in subset.findings for index in range(each)
    ]


def test_each_finding_gets_its_number():
    drawn = draw(SMALL, pool(9))
    assert [s.findings for s in drawn] == [(f,) for f in SMALL.findings for _ in range(3)]
    assert len({s.study_id for s in drawn}) == 9


def test_the_draw_is_the_same_in_any_order_and_not_simply_the_first():
    studies = pool(20)
    drawn = draw(SMALL, studies)
    shuffled = random.Random(1).sample(studies, len(studies))
    assert {s.study_id for s in draw(SMALL, shuffled)} == {s.study_id for s in drawn}
    assert drawn[:3] != studies[:3]


def test_a_study_drawn_stays_when_others_are_added():
    drawn = {s.study_id for s in draw(replace(SMALL, each=20), pool(20))}
    fewer = {s.study_id for s in draw(SMALL, pool(20))}
    assert fewer < drawn


@pytest.mark.parametrize(
    "unfit",
    [
        study("x", "edema", "consolidation"),
        study("x", "edema", "support devices"),
        study("x", "support devices"),
        study("x", "edema", images=()),
        study("x"),
        study("x", "edema", metadata=as_uncertain(CHEXPERT)),
    ],
    ids=["two findings", "another", "another alone", "no image", "none", "uncertain of another"],
)
def test_only_a_study_with_one_finding_and_surely_no_other_is_drawn(unfit):
    studies = [s for s in pool(3) if s.study_id != "s0-edema"]
    with pytest.raises(SubsetError, match=r"too few have: edema 2$"):
        draw(SMALL, [*studies, unfit])


def test_a_label_that_the_subset_does_not_name_is_no_hindrance():
    studies = [s for s in pool(3) if s.study_id != "s0-edema"]
    broken = study("x", "edema", "fracture", metadata=as_uncertain(["Pneumonia"]))
    assert broken in draw(SMALL, [*studies, broken])


def test_images_are_drawn_each_as_a_study_of_its_own():
    views = tuple(f"train/p9/study1/view{n}_frontal.jpg" for n in (1, 2, 3))
    studies = [s for s in pool(3) if s.findings != ("edema",)]
    drawn = draw(SMALL, [*studies, study(9, "edema", images=views, view="AP")])
    edema = [s for s in drawn if s.findings == ("edema",)]
    assert sorted(s.images for s in edema) == [(view,) for view in views]
    assert {s.study_id for s in edema} == {f"s9-view{n}_frontal" for n in (1, 2, 3)}
    assert {s.patient_id for s in edema} == {"p9"}
    assert {s.images[0]: s.view for s in edema} == {views[0]: "AP", views[1]: None, views[2]: None}


def test_only_the_published_split_is_drawn_from():
    in_train = replace(SMALL, split="train")
    studies = [replace(s, split="train") for s in pool(3)]
    assert len(draw(in_train, studies)) == 9
    with pytest.raises(SubsetError, match=r"edema 2$"):
        draw(in_train, [replace(studies[0], split="validation"), *studies[1:]])


FIVE_BY_ITS_RULE = {
    "drawn": {"Edema": "1.0", "Fracture": "0.0"},
    "of two of the five": {"Edema": "1.0", "Atelectasis": "1.0"},
    "of the five, and another": {"Edema": "1.0", "Lung Opacity": "1.0"},
    "of the five, and devices": {"Edema": "1.0", "Support Devices": "1.0"},
    "of the five, and doubt": {"Edema": "1.0", "Pneumonia": "-1.0"},
    "of another alone": {"Fracture": "1.0"},
    "of none": {"No Finding": "1.0"},
}


def test_5x200_has_one_of_five_findings_and_nothing_in_the_other_twelve_columns():
    """Huang et al. 2021: the eight further columns count too; a blank is 0, and -1 is not."""
    subset = replace(SUBSETS["chexpert-5x200"], findings=("edema",), each=1)
    assert len(subset.labels) == 13
    studies = []
    for name, cells in FIVE_BY_ITS_RULE.items():
        row = Row(dict.fromkeys(CHEXPERT, "") | cells, "train.csv", 2)
        found, doubt = chexpert_findings(row), chexpert_metadata(row)
        studies.append(study(name, *found, metadata=doubt, split="train"))
    with pytest.raises(SubsetError, match=r"edema 1$"):
        draw(replace(subset, each=2), studies)
    assert [s.study_id for s in draw(subset, studies)] == ["sdrawn"]


def test_too_few_of_a_finding_is_said_for_each():
    studies = [s for s in pool(3) if s.study_id not in ("s0-edema", "s0-no finding")]
    with pytest.raises(SubsetError, match=r"needs 3 images .* edema 2, no finding 2$"):
        draw(SMALL, studies)


@pytest.mark.parametrize("name", SUBSETS)
def test_every_subset_is_of_a_data_set_that_is_read_and_has_what_its_name_says(name):
    subset = SUBSETS[name]
    assert subset.source in SOURCES
    assert name.endswith(f"{len(subset.findings)}x{subset.each}")
    assert len(set(subset.findings)) == len(subset.findings)
    assert set(subset.findings) <= set(subset.labels)
    if subset.source != NIH:
        assert set(subset.labels) <= {label.lower() for label in CHEXPERT}


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_by_name_becomes_test_studies(name):
    subset = SUBSETS[name]
    studies = [replace(s, split="train") for s in pool(subset.each + 1, subset)]
    chosen = choose(name, subset.source, studies)
    assert len(chosen) == len(subset.findings) * subset.each
    assert {s.split for s in chosen} == {"test"}


def test_a_subset_of_another_data_set_is_refused():
    with pytest.raises(SubsetError, match="a subset of mimic_cxr, not of chexpert"):
        choose("mimic-5x200", "chexpert", [])


def test_an_unknown_subset_names_those_there_are():
    with pytest.raises(SubsetError, match="no subset or file 'x'; the subsets are chexpert-5x200"):
        choose("x", "chexpert", [])


def test_a_file_lists_studies_by_id(tmp_path):
    (tmp_path / "ids.txt").write_text("s2\n\n s0 \n")
    chosen = choose(str(tmp_path / "ids.txt"), "chexpert", [study(n) for n in range(4)])
    assert [s.study_id for s in chosen] == ["s0", "s2"]
    assert {s.split for s in chosen} == {"test"}
