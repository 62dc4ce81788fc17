import pytest

from service.errors import DeadlineExceeded
from service.reporting.evidence import Evidence
from service.reporting.extractive import write

CASES = {
    "a": (0.60, ["Small left effusion.", "No pneumothorax."], "Small left effusion."),
    "b": (0.59, ["There is a small left effusion.", "No pneumothorax."], "Left effusion."),
    "c": (0.58, ["There is no pneumothorax.", "Small left effusion."], "Small left effusion."),
    "d": (0.20, ["Large right pneumothorax.", "Cardiomegaly."], "Right pneumothorax."),
}


def evidence():
    rows = [
        (study, score, section, text)
        for study, (score, findings, impression) in CASES.items()
        for section, text in [*(("findings", f) for f in findings), ("impression", impression)]
    ]
    return [
        Evidence(number, f"{study}/{number}", study, section, text, score)
        for number, (study, score, section, text) in enumerate(rows, start=1)
    ]


def test_the_nearest_studies_majority_is_written_in_its_own_words(encoder, deadline):
    findings, impression = write(evidence(), encoder, deadline)
    texts = {item.number: item.text for item in evidence()}
    assert {draft.text for draft in findings} == {"Small left effusion.", "No pneumothorax."}
    assert len(impression) == 1
    assert "effusion" in impression[0].text.lower()
    for draft in [*findings, *impression]:
        assert texts[draft.evidence[0]] == draft.text
        for number in draft.evidence:
            assert draft.text.split()[-1].lower() in texts[number].lower()


def test_every_study_that_agrees_is_cited(encoder, deadline):
    findings, _ = write(evidence(), encoder, deadline)
    effusion = next(draft for draft in findings if "effusion" in draft.text)
    cited = {item.study_id for item in evidence() if item.number in effusion.evidence}
    assert cited == {"a", "b", "c"}


def test_a_statement_and_its_denial_are_never_both_written(encoder, deadline):
    rows = [
        Evidence(1, "a/1", "a", "findings", "Small left effusion.", 0.5),
        Evidence(2, "b/2", "b", "findings", "No left effusion.", 0.5),
        Evidence(3, "c/3", "c", "findings", "No left effusion.", 0.5),
    ]
    findings, _ = write(rows, encoder, deadline)
    assert [draft.text for draft in findings] == ["No left effusion."]


def test_a_finding_is_written_once_with_the_severity_that_most_report(encoder, deadline):
    rows = [
        Evidence(1, "a/1", "a", "findings", "Moderate right lower lung consolidation.", 0.5),
        Evidence(2, "b/2", "b", "findings", "Mild right lower lung consolidation.", 0.5),
        Evidence(
            3, "c/3", "c", "findings", "There is mild consolidation in the right lower lung.", 0.5
        ),
        Evidence(4, "d/4", "d", "findings", "Mild left lower lung consolidation.", 0.5),
    ]
    findings, _ = write(rows, encoder, deadline)
    assert [draft.evidence for draft in findings] == [(2, 3), (4,)]


def test_opposites_in_the_same_words_neither_vote_for_nor_cite_each_other(encoder, deadline):
    rows = [
        Evidence(1, "a/1", "a", "findings", "Large left pneumothorax without effusion.", 0.5),
        Evidence(2, "b/2", "b", "findings", "No large left pneumothorax or effusion.", 0.5),
        Evidence(3, "c/3", "c", "findings", "No large left pneumothorax or effusion.", 0.5),
    ]
    findings, _ = write(rows, encoder, deadline)
    assert [(draft.text, draft.evidence) for draft in findings] == [(rows[1].text, (2, 3))]


def test_a_conclusion_is_an_impression_and_untitled_text_a_finding(encoder, deadline):
    rows = [
        Evidence(1, "a/1", "a", "report", "Small left effusion.", 0.5),
        Evidence(2, "a/2", "a", "conclusion", "Effusion.", 0.5),
    ]
    findings, impression = write(rows, encoder, deadline)
    assert [[draft.evidence[0] for draft in part] for part in (findings, impression)] == [[1], [2]]


def test_a_client_that_has_left_stops_the_writer(encoder, deadline):
    deadline.cancel()
    with pytest.raises(DeadlineExceeded):
        write(evidence(), encoder, deadline)


def test_the_same_evidence_gives_the_same_report(encoder, deadline):
    assert write(evidence(), encoder, deadline) == write(evidence(), encoder, deadline)


def test_without_evidence_nothing_is_written(encoder, deadline):
    assert write([], encoder, deadline) == ([], [])
