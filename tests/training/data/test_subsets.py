import random
from dataclasses import replace

import pytest

from training.data.labels import CHEXPERT, NO_FINDING, as_uncertain
from training.data.sources import SOURCES
from training.data.sources.nih_cxr14 import SOURCE as NIH
from training.data.study import ManifestStudy
from training.data.subsets import SUBSETS, Subset, SubsetError, choose, draw, listed

SMALL = Subset("chexpert", ("edema", "consolidation", NO_FINDING), 3)


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
        study("x", "edema", images=()),
        study("x"),
        study("x", "edema", metadata=as_uncertain(CHEXPERT)),
    ],
    ids=["two findings", "no image", "none", "uncertain of another"],
)
def test_only_a_study_with_exactly_one_listed_finding_is_drawn(unfit):
    studies = [s for s in pool(3) if s.study_id != "s0-edema"]
    with pytest.raises(SubsetError, match=r"too few have: edema 2$"):
        draw(SMALL, [*studies, unfit])


def test_a_finding_that_the_subset_does_not_list_is_no_hindrance():
    studies = [s for s in pool(3) if s.study_id != "s0-edema"]
    with_devices = study("x", "edema", "support devices", metadata=as_uncertain(["Fracture"]))
    assert with_devices in draw(SMALL, [*studies, with_devices])


def test_too_few_of_a_finding_is_said_for_each():
    studies = [s for s in pool(3) if s.study_id not in ("s0-edema", "s0-no finding")]
    with pytest.raises(SubsetError, match=r"needs 3 studies .* edema 2, no finding 2$"):
        draw(SMALL, studies)


@pytest.mark.parametrize("name", SUBSETS)
def test_every_subset_is_of_a_data_set_that_is_read_and_has_what_its_name_says(name):
    subset = SUBSETS[name]
    assert subset.source in SOURCES
    assert name.endswith(f"{len(subset.findings)}x{subset.each}")
    assert len(set(subset.findings)) == len(subset.findings)
    if subset.source != NIH:
        assert set(subset.findings) <= {label.lower() for label in CHEXPERT}


def test_a_subset_by_name_becomes_test_studies():
    subset = SUBSETS["chexpert-5x200"]
    chosen = choose("chexpert-5x200", "chexpert", pool(210, subset))
    assert len(chosen) == 1000
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


@pytest.mark.parametrize(
    "line",
    [
        "train/p1/study1/view2_frontal.jpg",
        "CheXpert-v1.0/train/p1/study1/view2_frontal.jpg",
    ],
)
def test_a_list_of_images_keeps_only_those(line):
    views = tuple(f"train/p1/study1/view{n}_frontal.jpg" for n in (1, 2))
    (chosen,) = listed([line], [study(1, images=views), study(2)])
    assert chosen.images == views[1:]


def test_a_file_name_will_do_where_a_study_is_one_image():
    image = "images_001/images/00000001_000.png"
    one = ManifestStudy("00000001_000", "1", NIH, (image,), "")
    assert listed(["00000001_000.png"], [one]) == [one]


def test_a_line_that_names_nothing_is_counted():
    with pytest.raises(SubsetError, match="2 of the 3 lines name no study or image"):
        listed(["s1", "s9", "train/p9/study1/view1_frontal.jpg"], [study(1)])
