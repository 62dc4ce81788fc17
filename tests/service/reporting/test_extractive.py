import pytest

from service.errors import DeadlineExceeded
from service.reporting.extractive import consensus
from service.reporting.sentences import PARTS
from tests.support.evidence import embedded, passage

CASES = {
    "a": (0.60, ["Small left effusion.", "No pneumothorax."], "Small left effusion."),
    "b": (0.59, ["There is a small left effusion.", "No pneumothorax."], "Left effusion."),
    "c": (0.58, ["There is no pneumothorax.", "Small left effusion."], "Small left effusion."),
    "d": (0.20, ["Large right pneumothorax.", "Cardiomegaly."], "Right pneumothorax."),
}


@pytest.fixture
def write(encoder, deadline):
    """The drafts of the consensus of some passages: findings, impression."""

    def drafts(passages):
        written = consensus(embedded(passages, encoder, deadline), deadline)
        return tuple([d for d in written if d.part == part] for part in PARTS)

    return drafts


def cases():
    rows = [
        (study, score, section, text)
        for study, (score, findings, impression) in CASES.items()
        for section, text in [*(("findings", f) for f in findings), ("impression", impression)]
    ]
    return [
        passage(number, text, study_id=study, section=section, score=score)
        for number, (study, score, section, text) in enumerate(rows, start=1)
    ]


def test_the_nearest_studies_majority_is_written_in_its_own_words(write):
    findings, impression = write(cases())
    texts = {item.number: item.text for item in cases()}
    assert {draft.text for draft in findings} == {"Small left effusion.", "No pneumothorax."}
    assert len(impression) == 1
    assert "effusion" in impression[0].text.lower()
    for draft in [*findings, *impression]:
        assert texts[draft.evidence[0]] == draft.text
        for number in draft.evidence:
            assert draft.text.split()[-1].lower() in texts[number].lower()


def test_every_study_that_agrees_is_cited(write):
    findings, _ = write(cases())
    effusion = next(draft for draft in findings if "effusion" in draft.text)
    cited = {item.study_id for item in cases() if item.number in effusion.evidence}
    assert cited == {"a", "b", "c"}


def test_a_statement_and_its_denial_are_never_both_written(write):
    rows = [
        passage(1, "Small left effusion."),
        passage(2, "No left effusion."),
        passage(3, "No left effusion."),
    ]
    findings, _ = write(rows)
    assert [draft.text for draft in findings] == ["No left effusion."]


def test_a_finding_is_written_once_with_the_severity_that_most_report(write):
    rows = [
        passage(1, "Moderate right lower lung consolidation."),
        passage(2, "Mild right lower lung consolidation."),
        passage(3, "There is mild consolidation in the right lower lung."),
        passage(4, "Mild left lower lung consolidation."),
    ]
    findings, _ = write(rows)
    assert [draft.evidence for draft in findings] == [(2, 3), (4,)]


def test_a_comparison_votes_for_the_finding_and_never_for_its_denial(write):
    rows = [
        passage(1, "No left pleural effusion."),
        passage(2, "No significant interval change in the left pleural effusion."),
        passage(3, "The left pleural effusion is unchanged."),
        passage(4, "Left pleural effusion."),
    ]
    findings, _ = write(rows)
    assert [(draft.text, draft.evidence) for draft in findings] == [(rows[3].text, (4, 2, 3))]


def test_opposites_in_the_same_words_neither_vote_for_nor_cite_each_other(write):
    rows = [
        passage(1, "Large left pneumothorax without effusion."),
        passage(2, "No large left pneumothorax or effusion."),
        passage(3, "No large left pneumothorax or effusion."),
    ]
    findings, _ = write(rows)
    assert [(draft.text, draft.evidence) for draft in findings] == [(rows[1].text, (2, 3))]


def test_a_conclusion_is_an_impression_and_untitled_text_a_finding(write):
    rows = [
        passage(1, "Small left effusion.", section="report"),
        passage(2, "Effusion.", section="conclusion"),
    ]
    findings, impression = write(rows)
    assert [[draft.evidence[0] for draft in part] for part in (findings, impression)] == [[1], [2]]


def test_a_client_that_has_left_stops_the_writer(write, deadline):
    deadline.cancel()
    with pytest.raises(DeadlineExceeded):
        write(cases())


def test_the_same_evidence_gives_the_same_report(write):
    assert write(cases()) == write(cases())


def test_without_evidence_nothing_is_written(write):
    assert write([]) == ([], [])
