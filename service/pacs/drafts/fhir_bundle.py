"""Makes the FHIR R4 transaction that gives a report to a hospital's FHIR server.

| resource | is made only if the server finds none by |
|---|---|
| ImagingStudy, of the study that asked | `urn:dicom:uid` and the StudyInstanceUID |
| Device, this program with its bundle | its version and the bundle's id |
| Observation, one a finding of the classification | the result's UID and a number |
| DiagnosticReport, with an Observation a sentence in it | `urn:dicom:uid` and the result's UID |
| Provenance | a tag of the result's UID, as it can have no identifier |

Each is a conditional create (`ifNoneExist`). So a transaction that is posted twice makes no second
report, and never overwrites one that a radiologist has worked on, as a conditional update would.
Sentences are contained in the report, because they mean nothing without it; so a repetition with
other sentences leaves none of them over. Medplum's server code (fhir-router 5.2.13) took it twice
and answered 201, then 200 for every entry; it resolves all references.

The patient is a logical reference, `subject.identifier`. A conditional reference
(`Patient?identifier=...`) makes servers refuse the whole transaction where they know no such
patient, or know the patient under another system: a DICOM header names its issuer in words and
seldom by a URI.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_OID, uuid5

from service.inference.zero_shot import Finding
from service.pacs.drafts.codes import finding_code
from service.pacs.origin import ImageSeries, Issued, Origin
from service.reporting.formats import diagnostic_report, fhir_string
from service.reporting.grounding import PRESENT
from service.reporting.report import Report
from service.studies.own_drafts import MANUFACTURER

Resource = dict[str, Any]
"""A resource or a part of one, as JSON."""
_HL7 = "http://terminology.hl7.org/CodeSystem"
_URI = "urn:ietf:rfc:3986"
_UID = "urn:dicom:uid"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SYSTEMS = {"SCT": "http://snomed.info/sct", "DCM": _DCM}
"""Scheme of a DICOM code → FHIR's name of the same (PS3.16 8, HL7 terminology)."""
_UNKNOWN: Resource = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "unknown",
        }
    ]
}
"""What stands for the patient of a study whose images name none."""
_MEANINGS = {"POS": "Positive", "NEG": "Negative", "IND": "Indeterminate"}
"""Codes of HL7's ObservationInterpretation."""


def transaction(report: Report, origin: Origin, *, uid: str, written: datetime) -> str:
    """Returns the Bundle in JSON. It names the patient and the study in plain.

    uid: of this result. The same one for the same images makes a repetition harmless.
    written: when the report was written, with a time zone.
    """
    return json.dumps(_Transaction(report, origin, uid, written).bundle(), ensure_ascii=False)


class _Transaction:
    """One report's resources, which refer to each other by URNs that follow from the UID."""

    def __init__(self, report: Report, origin: Origin, uid: str, written: datetime) -> None:
        self._report, self._origin, self._uid = report, origin, uid
        self._written = written.isoformat(timespec="seconds")
        self._about: Resource = {"subject": _subject(origin.patient)}
        if origin.started is not None:
            self._about["effectiveDateTime"] = origin.started.isoformat()

    def bundle(self) -> Resource:
        findings = [
            self._finding(number, finding)
            for number, finding in enumerate(self._report.classification, start=1)
        ]
        references = [{"reference": entry["fullUrl"]} for entry in findings]
        entries = [
            self._imaging_study(),
            self._device(),
            *findings,
            self._diagnostic_report(references),
            self._provenance(references),
        ]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    def _reference(self, name: str) -> Resource:
        return {"reference": f"urn:uuid:{uuid5(NAMESPACE_OID, f'{self._uid}/{name}')}"}

    def _entry(self, name: str, resource: Resource, search: str | None = None) -> Resource:
        """Returns the entry that makes the resource unless the search finds it.

        search: by default for the first identifier.
        """
        if search is None:
            first = resource["identifier"][0]
            search = f"identifier={first['system']}|{quote(first['value'], safe=':')}"
        request = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": search}
        full_url = self._reference(name)["reference"]
        return {"fullUrl": full_url, "resource": resource, "request": request}

    def _imaging_study(self) -> Resource:
        origin = self._origin
        resource: Resource = {
            "resourceType": "ImagingStudy",
            "identifier": [_by_uid(origin.study_uid)],
            "status": "available",
            "subject": self._about["subject"],
            "series": [_series(series) for series in origin.series],
        }
        if origin.accession is not None:
            kind = {"coding": [{"system": f"{_HL7}/v2-0203", "code": "ACSN"}]}
            resource["identifier"].append({"type": kind, **_issued(origin.accession)})
        if origin.started is not None:
            resource["started"] = origin.started.isoformat()
        return self._entry("study", resource)

    def _device(self) -> Resource:
        software, bundle = self._report.provenance.software, self._report.provenance.bundle_id
        name, _, version = software.rpartition(" ")
        resource = {
            "resourceType": "Device",
            "identifier": [{"system": "urn:eclip:device", "value": f"{version}-{bundle[:12]}"}],
            "status": "active",
            "manufacturer": MANUFACTURER,
            "deviceName": [{"name": name or software, "type": "model-name"}],
            "version": [
                {"type": {"text": "software"}, "value": version},
                {"type": {"text": "bundle"}, "value": bundle},
            ],
        }
        return self._entry("device", resource)

    def _finding(self, number: int, finding: Finding) -> Resource:
        resource = {
            "resourceType": "Observation",
            "identifier": [{"system": f"urn:oid:{self._uid}", "value": f"finding-{number}"}],
            "status": "preliminary",
            "category": [{"coding": [_coding("observation-category", "imaging", "Imaging")]}],
            "code": _code(finding.label),
            **self._about,
            "method": {"text": _method(finding)},
            "device": self._reference("device"),
            "derivedFrom": [self._reference("study")],
            "component": [_probability(finding)],
        }
        if (code := _interpretation(finding)) is not None:
            coding = _coding("v3-ObservationInterpretation", code, _MEANINGS[code])
            resource["interpretation"] = [{"coding": [coding]}]
        return self._entry(f"finding-{number}", resource)

    def _diagnostic_report(self, findings: Sequence[Resource]) -> Resource:
        resource = diagnostic_report(self._report) | self._about
        resource["identifier"] = [_by_uid(self._uid)]
        resource["issued"] = self._written
        resource["imagingStudy"] = [self._reference("study")]
        if results := [*resource.get("result", ()), *findings]:
            resource["result"] = results
        return self._entry("report", resource)

    def _provenance(self, findings: Sequence[Resource]) -> Resource:
        provenance = self._report.provenance
        tag = {"system": f"urn:oid:{self._uid}", "code": "provenance"}
        resource = {
            "resourceType": "Provenance",
            "meta": {"tag": [tag]},
            "target": [self._reference("report"), *findings],
            "recorded": self._written,
            "agent": [
                {
                    "type": {
                        "coding": [_coding("provenance-participant-type", "author", "Author")]
                    },
                    "who": self._reference("device"),
                }
            ],
            "entity": [
                {"role": "source", "what": self._reference("study")},
                _entity("urn:eclip:audit-record", provenance.record),
                _entity("urn:eclip:bundle", provenance.bundle_id),
            ],
        }
        return self._entry("provenance", resource, f"_tag={tag['system']}|{tag['code']}")


def _subject(patient: Issued | None) -> Resource:
    if patient is None:
        return _UNKNOWN
    return {"type": "Patient", "identifier": _issued(patient)}


def _issued(issued: Issued) -> Resource:
    identifier: Resource = {"value": fhir_string(issued.value)}
    if issued.issuer_uri is not None:
        identifier["system"] = issued.issuer_uri
    if issued.issuer is not None:
        identifier["assigner"] = {"display": fhir_string(issued.issuer)}
    return identifier


def _by_uid(uid: str) -> Resource:
    return {"system": _UID, "value": f"urn:oid:{uid}"}


def _series(series: ImageSeries) -> Resource:
    return {
        "uid": series.uid,
        "modality": {"system": _DCM, "code": series.modality},
        "numberOfInstances": len(series.images),
        "instance": [
            {"uid": image.uid, "sopClass": {"system": _URI, "code": f"urn:oid:{image.sop_class}"}}
            for image in series.images
        ],
    }


def _coding(system: str, code: str, display: str) -> Resource:
    return {"system": f"{_HL7}/{system}", "code": code, "display": display}


def _code(label: str) -> Resource:
    """Returns what is looked for: in the label's words, and coded where a public code says it."""
    known = finding_code(label)
    concept: Resource = {"text": fhir_string(label)}
    if (system := _SYSTEMS.get(known.scheme_designator)) is not None:
        coding = {"system": system, "code": known.value, "display": known.meaning}
        concept["coding"] = [coding]
    return concept


def _method(finding: Finding) -> str:
    kind = "calibrated" if finding.calibrated else "not calibrated"
    return f"Comparison of image and text embeddings, {kind}"


def _probability(finding: Finding) -> Resource:
    code = {"text": "Probability of the finding"}
    if finding.probability is None:
        return {"code": code, "dataAbsentReason": {"coding": [_NOT_KNOWN]}}
    value = {"value": float(f"{finding.probability:.4g}"), "system": "http://unitsofmeasure.org"}
    return {"code": code, "valueQuantity": value | {"code": "1"}}


_NOT_KNOWN = _coding("data-absent-reason", "unknown", "Unknown")


def _interpretation(finding: Finding) -> str | None:
    """Returns whether the finding is there, by its calibration; None without one."""
    if not finding.calibrated or finding.probability is None:
        return None
    if finding.abstained:
        return "IND"
    return "POS" if finding.probability >= PRESENT else "NEG"


def _entity(system: str, value: str) -> Resource:
    return {"role": "source", "what": {"identifier": {"system": system, "value": value}}}
