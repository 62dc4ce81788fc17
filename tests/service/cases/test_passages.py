import csv
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cases.passages import split_report


def split(report):
    return [(passage.section, passage.text) for passage in split_report(report, "stu_1")]


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (
            "FINDINGS: Small effusion. No pneumothorax. IMPRESSION: Effusion.",
            [
                ("findings", "Small effusion."),
                ("findings", "No pneumothorax."),
                ("impression", "Effusion."),
            ],
        ),
        ("Clear lungs.", [("report", "Clear lungs.")]),
        (
            "A 1.5 cm nodule. Seen by Dr. Smith at St. Mary.",
            [("report", "A 1.5 cm nodule."), ("report", "Seen by Dr. Smith at St. Mary.")],
        ),
        (
            "IMPRESSION:\n1. Effusion.\n2. Cardiomegaly.",
            [("impression", "1. Effusion."), ("impression", "2. Cardiomegaly.")],
        ),
        (
            "Findings:\nNo effusion\nImpression :\nNormal chest",
            [("findings", "No effusion"), ("impression", "Normal chest")],
        ),
        (
            "Nodule of grade 2. No effusion. Compared with 3/4/2012. No change.",
            [
                ("report", "Nodule of grade 2."),
                ("report", "No effusion."),
                ("report", "Compared with 3/4/2012."),
                ("report", "No change."),
            ],
        ),
        (
            "IMPRESSION: 1. Cardiomegaly 2. Effusion. 3. A 1.\n5 cm nodule.",
            [
                ("impression", "1. Cardiomegaly 2. Effusion."),
                ("impression", "3. A 1. 5 cm nodule."),
            ],
        ),
        ("HISTORY/INDICATION: Cough.", [("history/indication", "Cough.")]),
        ("", []),
        (" . \n", []),
    ],
)
def test_reports_are_split_into_sentences_with_their_sections(report, expected):
    assert split(report) == expected


def test_ids_name_the_study_section_and_place():
    first, second = split_report("FINDINGS: One. IMPRESSION: Two.", "stu_1")
    assert (first.id, second.id) == ("stu_1/findings/0", "stu_1/impression/1")


@given(st.text(alphabet="aB1 .:\nFINDGS", max_size=200))
def test_no_word_is_lost(report):
    kept = " ".join(f"{section} {text}" for section, text in split(report)).lower()
    words = re.findall(r"\w+", report.lower())
    headers = {word for section, _ in split(report) for word in section.split()}
    assert [w for w in words if w not in kept and w not in headers] == [
        w for w in words if w not in kept and w not in headers and _is_empty_section(report, w)
    ]


def _is_empty_section(report, word):
    """A header with nothing under it is no passage."""
    return re.search(rf"\b{word}[\w ]*\s*:", report, re.IGNORECASE) is not None


@given(st.lists(st.sampled_from(["1.", "2.", "5", "A.", "Dr.", "No", "effusion.", "Clear!", "("])))
def test_a_report_without_headers_is_its_sentences_word_for_word(words):
    kept = [word for _, text in split(" ".join(words)) for word in text.split()]
    assert [word for word in kept if word != "("] == [word for word in words if word != "("]


@pytest.mark.parametrize("unit", ["A. ", "1. ", "Ab. ", "AB /", "A:\n", "vs. A", ". A"])
def test_a_hostile_report_is_split_in_linear_time(unit):
    start = time.perf_counter()
    split((unit * 20_000)[:20_000])
    assert time.perf_counter() - start < 0.5


def test_real_reports_split_into_short_sentences(shared_data):
    with (shared_data / "open_i" / "reports.csv").open(newline="", encoding="utf-8") as file:
        texts = [
            f"FINDINGS: {r['findings']} IMPRESSION: {r['impression']}" for r in csv.DictReader(file)
        ]
    passages = [passage for text in texts for passage in split_report(text, "stu_1")]
    lengths = sorted(len(passage.text) for passage in passages)
    known = [p for p in passages if p.section in ("findings", "impression")]
    assert len(known) > 0.999 * len(passages)
    assert lengths[len(lengths) // 2] < 80
    assert lengths[int(len(lengths) * 0.999)] < 500
