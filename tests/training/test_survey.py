from dataclasses import replace

import open_clip
import pytest

from training.data.study import ManifestStudy
from training.survey import summarise

STUDY = ManifestStudy("s1", "p1", "test", ("1.png",), "Clear lungs.", view="PA")


def test_the_summary_counts_what_is_there():
    studies = [
        STUDY,
        replace(STUDY, study_id="s2", view=None, report=" ".join(["word"] * 76)),
        replace(STUDY, study_id="s3", patient_id="p2", report=""),
        replace(STUDY, study_id="s4", images=()),
    ]
    summary = summarise(studies)
    assert (summary.studies, summary.pairs, summary.patients) == (4, 2, 2)
    assert summary.views == {"PA": 2, "not stated": 1}
    assert summary.reports.distinct == 2
    assert summary.reports.median_words == 2
    assert summary.reports.words_95th == pytest.approx(68.6)  # of 2, 2, 76, interpolated
    assert summary.reports.context == 77


@pytest.mark.parametrize(("words", "share"), [(75, 0.0), (76, 0.5)])
def test_a_report_is_truncated_where_open_clip_would_cut_it(words, share):
    long = " ".join(["word"] * words)
    tokens = open_clip.get_tokenizer("ViT-B-32").encode(long)
    assert len(tokens) == words
    summary = summarise([STUDY, replace(STUDY, report=long)])
    assert summary.reports.truncated == share


def test_the_summary_counts_what_is_known_of_findings():
    summary = summarise(
        [
            STUDY,
            replace(STUDY, findings=()),
            replace(STUDY, findings=("edema",), metadata={"uncertain": "nodule"}),
            replace(STUDY, metadata={"uncertain": "nodule"}),
        ]
    )
    assert (summary.unlabelled, summary.uncertain) == (2, 1)


def test_a_data_set_without_reports_has_no_lengths():
    assert summarise([replace(STUDY, report="")]).reports is None
