"""The transaction of a report is valid FHIR R4, holds the report, and does no harm twice."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inference.zero_shot import Finding
from service.pacs.drafts.fhir_bundle import transaction
from service.pacs.origin import ImageObject, ImageSeries, Issued, Origin
from service.reporting.report import Provenance, Report
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy
from tests.support.evidence import passage
from tests.support.fhir import require_valid, schema

UID = "2.25.1234"
NOW = datetime(2026, 3, 4, 10, 15, 30, tzinfo=UTC)
ORIGIN = Origin(
    study_uid="1.2.3",
    patient=Issued("P-1", "Ward 7", "urn:oid:1.2.9"),
    accession=Issued("A-1", "RIS"),
    started=datetime(2026, 3, 4, 9, 0, tzinfo=timezone(timedelta(hours=1))),
    series=(
        ImageSeries("1.2.3.4", "DX", (ImageObject("1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.1.1"),)),
    ),
)
FINDINGS = (
    Finding("effusion", 0.2, 0.9, True, False),
    Finding("nodule", 0.1, 0.04, True, False),
    Finding("edema", 0.1, 0.5, True, True),
    Finding("mass", 0.1, 4.53612e-05, False, False),
    Finding("device", 0.1, None, False, False),
)


def said(text, *numbers):
    return Sentence(text, numbers, 1.0, "supported")


REPORT = Report(
    findings=(said("Small effusion.", 1, 2),),
    impression=(said("Effusion.", 2),),
    withheld=(said("Withheld."),),
    evidence=tuple(passage(n, f"Passage {n}.", study_id="stu_secret") for n in (1, 2)),
    prior=(),
    classification=FINDINGS,
    generator=WrittenBy("extractive", "writer-1", 2),
    provenance=Provenance(
        "b" * 64, None, 0, 8, "eclip-radiology 9.8.7", "2026-03-04-0123456789abcdef"
    ),
    abstained=None,
)
ABSTAINED = replace(REPORT, findings=(), impression=(), abstained="No case.")


def entries(report=REPORT, origin=ORIGIN, uid=UID):
    bundle = json.loads(transaction(report, origin, uid=uid, written=NOW))
    require_valid(bundle)
    for entry in bundle["entry"]:
        require_valid(entry["resource"])
    Bundle.model_validate(bundle)
    return bundle["entry"]


def of_kind(found, kind):
    return [entry["resource"] for entry in found if entry["resource"]["resourceType"] == kind]


def test_the_schema_is_the_one_that_hl7_publishes():
    assert len(schema()["definitions"]) == 680
    assert schema()["id"] == "http://hl7.org/fhir/json-schema/4.0"
    with pytest.raises(ValueError, match="status"):
        require_valid({"resourceType": "Observation", "status": 1, "code": {"text": "x"}})


@pytest.mark.parametrize("origin", [ORIGIN, Origin("1.2", None, None, None, ORIGIN.series)])
@pytest.mark.parametrize("report", [REPORT, ABSTAINED, replace(ABSTAINED, classification=())])
def test_it_is_valid_and_its_references_lead_to_its_entries(report, origin):
    found = entries(report, origin)
    urls = [entry["fullUrl"] for entry in found]
    assert len({*urls}) == len(urls)
    texts = json.dumps([entry["resource"] for entry in found])
    assert all(texts.count(url) for url in urls[:-1])  # all but the provenance are referred to
    (written,) = of_kind(found, "DiagnosticReport")
    assert written["status"] == ("cancelled" if report.abstained else "preliminary")
    named = {item["reference"] for item in written.get("result", [])}
    contained = {f"#{item['id']}" for item in written.get("contained", [])}
    assert named == contained | {*urls[2:-2]}


def test_the_report_has_each_sentence_with_its_evidence_and_whose_it_is():
    (written,) = of_kind(entries(), "DiagnosticReport")
    first, second = written["contained"]
    assert first["valueString"] == "Small effusion."
    assert [note["text"] for note in first["note"]] == ["[1] Passage 1.", "[2] Passage 2."]
    assert second["valueString"] == written["conclusion"] == "Effusion."
    assert written["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{UID}"}]
    assert written["subject"] == {
        "type": "Patient",
        "identifier": {
            "value": "P-1",
            "system": "urn:oid:1.2.9",
            "assigner": {"display": "Ward 7"},
        },
    }
    assert written["effectiveDateTime"] == "2026-03-04T09:00:00+01:00"
    assert written["issued"] == "2026-03-04T10:15:30+00:00"


def test_each_finding_says_what_its_calibration_allows():
    seen = {
        item["code"]["text"]: (
            item.get("interpretation", [{"coding": [{"code": None}]}])[0]["coding"][0]["code"],
            item["component"][0].get("valueQuantity", {}).get("value"),
        )
        for item in of_kind(entries(), "Observation")
    }
    assert seen == {
        "effusion": ("POS", 0.9),
        "nodule": ("NEG", 0.04),
        "edema": ("IND", 0.5),
        "mass": (None, 4.536e-05),
        "device": (None, None),
    }
    *_, unknown = of_kind(entries(), "Observation")
    assert unknown["component"][0]["dataAbsentReason"]["coding"][0]["code"] == "unknown"


def test_a_finding_has_a_code_where_a_public_one_says_the_same():
    codes = {item["code"]["text"]: item["code"] for item in of_kind(entries(), "Observation")}
    assert codes["effusion"]["coding"] == [
        {"system": "http://snomed.info/sct", "code": "60046008", "display": "Pleural effusion"}
    ]
    assert codes["device"] == {"text": "device"}


def test_the_study_has_its_uids_and_its_accession_number():
    (study,) = of_kind(entries(), "ImagingStudy")
    uid, accession = study["identifier"]
    assert uid == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert (accession["value"], accession["type"]["coding"][0]["code"]) == ("A-1", "ACSN")
    (series,) = study["series"]
    assert (series["uid"], series["modality"]["code"]) == ("1.2.3.4", "DX")
    assert series["instance"][0]["uid"] == "1.2.3.4.5"
    (plain,) = of_kind(entries(origin=replace(ORIGIN, started=date(2026, 3, 4))), "ImagingStudy")
    assert plain["started"] == "2026-03-04"


def test_the_provenance_names_the_audit_record_the_bundle_and_the_program():
    found = entries()
    (device,) = of_kind(found, "Device")
    (provenance,) = of_kind(found, "Provenance")
    assert device["manufacturer"] == "eCLIP Radiology"
    assert {item["value"] for item in device["version"]} == {"9.8.7", "b" * 64}
    assert provenance["agent"][0]["who"]["reference"] == found[1]["fullUrl"]
    named = [item["what"].get("identifier", {}).get("value") for item in provenance["entity"]]
    assert named == [None, "2026-03-04-0123456789abcdef", "b" * 64]


def post(server, found):
    """Stores what the server finds none of, as a FHIR server does with conditional creates."""
    for entry in found:
        kind, request = entry["resource"]["resourceType"], entry["request"]
        assert (request["method"], request["url"]) == ("POST", kind)
        name, _, value = request["ifNoneExist"].partition("=")
        system, _, value = unquote(value).partition("|")
        resource = entry["resource"]
        own = resource["meta"]["tag"] if name == "_tag" else resource["identifier"]
        assert (own[0]["system"], own[0].get("value", own[0].get("code"))) == (system, value)
        server.setdefault((kind, system, value), resource)


def test_posted_twice_it_makes_no_second_report_and_changes_none():
    server = {}
    post(server, entries())
    before = dict(server)
    post(server, entries(replace(REPORT, findings=(*REPORT.findings, said("A mass.", 1)))))
    assert server == before
    post(server, entries(uid="2.25.99"))
    of = [kind for kind, *_ in server]
    assert (of.count("DiagnosticReport"), of.count("ImagingStudy"), of.count("Device")) == (2, 1, 1)
    assert of.count("Observation") == 2 * len(FINDINGS)


def test_it_holds_no_identifier_of_other_patients_and_nothing_withheld():
    written = transaction(REPORT, ORIGIN, uid=UID, written=NOW)
    for secret in ("stu_secret", "Withheld."):
        assert secret not in written


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(str.strip)
UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda n: ".".join(map(str, n)))
SENTENCES = st.builds(
    Sentence,
    TEXTS,
    st.sets(st.integers(1, 2)).map(tuple),
    st.floats(0, 1),
    st.sampled_from(["supported", "contradicted", "unsupported"]),
    st.sets(st.integers(1, 2)).map(tuple),
    st.sampled_from([None, "agrees", "disagrees"]),
)
CLASSIFIED = st.builds(
    Finding, TEXTS, st.floats(-1, 1), st.none() | st.floats(0, 1), st.booleans(), st.booleans()
)
ISSUED = st.builds(Issued, TEXTS, st.none() | TEXTS, st.none() | UIDS.map("urn:oid:{}".format))
ORIGINS = st.builds(
    Origin,
    UIDS,
    st.none() | ISSUED,
    st.none() | ISSUED,
    st.none() | st.dates() | st.datetimes(timezones=st.just(timezone(timedelta(hours=-3)))),
    st.lists(
        st.builds(
            ImageSeries,
            UIDS,
            st.sampled_from(["CR", "DX", "OT"]),
            st.lists(st.builds(ImageObject, UIDS, UIDS), min_size=1, max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.lists(SENTENCES, max_size=3).map(tuple),
    st.lists(SENTENCES, max_size=3).map(tuple),
    st.lists(CLASSIFIED, max_size=4).map(tuple),
    st.none() | TEXTS,
    ORIGINS,
    UIDS,
)
def test_every_report_of_every_study_is_valid(findings, impression, classified, why, origin, uid):
    report = replace(
        REPORT, findings=findings, impression=impression, classification=classified, abstained=why
    )
    found = entries(report, origin, uid)
    (written,) = of_kind(found, "DiagnosticReport")
    assert len(written.get("contained", [])) == len(findings) + len(impression)
    assert len(of_kind(found, "Observation")) == len(classified)
