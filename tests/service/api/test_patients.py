"""A patient is deleted from the library and, if the request says so, from the audit log."""

import pytest

WORDS = "Small left effusion with a zebra pattern."


@pytest.fixture
def cited(writable, radiograph):
    """Returns the bytes of the audit log, after a report that cites p1 and one about p1."""
    writable.put("/studies/s1", json={"report": f"FINDINGS: {WORDS}", "patient_id": "p1"})
    writable.put("/studies/s2", json={"report": "FINDINGS: No effusion.", "patient_id": "p2"})
    for exclude in ("{}", '{"patient_id": "p1"}', '{"study_id": "s1"}'):
        asked = {"exclude": exclude, "filter": '{"source": ["local"]}'}
        answer = writable.post("/generate-report", files={"files": radiograph}, data=asked)
        assert answer.status_code == 200, answer.text
    directory = writable.app.state.services.reporter.audit.directory
    return lambda: b"".join(path.read_bytes() for path in directory.iterdir())


def traces(client):
    names = client.app.state.services.library.pseudonyms
    return [WORDS.encode(), names.patient("p1").encode(), names.study("s1").encode()]


def test_a_deletion_erases_the_patient_from_the_audit_log_if_asked(writable, cited):
    known = traces(writable)
    assert all(trace in cited() for trace in known)
    answer = writable.delete("/patients/p1?audit=erase")
    assert answer.json() == {
        "studies": 1,
        "erased_within_s": 3600,
        "audit": {"removed": 2, "changed": 1},
    }
    assert not any(trace in cited() for trace in known)
    again = writable.delete("/patients/p1?audit=erase")
    assert again.json() == {
        "studies": 0,
        "erased_within_s": 3600,
        "audit": {"removed": 0, "changed": 0},
    }


def test_the_audit_log_stays_otherwise_and_can_be_erased_later(writable, cited, problem):
    known, before = traces(writable), cited()
    assert writable.delete("/patients/p1").json()["studies"] == 1
    assert cited() == before
    problem(writable.delete("/patients/p1?audit=keep"), 400, "request/malformed")
    assert writable.delete("/patients/p1?audit=erase").json()["audit"] == {
        "removed": 2,
        "changed": 1,
    }
    assert not any(trace in cited() for trace in known)


def test_the_log_has_no_plain_value_of_a_filter(cited):
    assert b'"local"' not in cited()
