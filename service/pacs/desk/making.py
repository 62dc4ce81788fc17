"""Makes the results of a draft report: an SR for the PACS, a Bundle for the FHIR server."""

from collections.abc import Collection
from datetime import UTC, datetime

from service.pacs.desk.drafting import Drafted
from service.pacs.desk.outcomes import Peer
from service.pacs.desk.results import Result
from service.pacs.drafts.fhir_bundle import transaction
from service.pacs.drafts.result_uids import result_uid
from service.pacs.drafts.structured_report import structured_report
from service.pacs.origin import Origin


def make_results(peers: Collection[Peer], study_uid: str, drafted: Drafted) -> list[Result]:
    """Returns the results of a draft, one for each peer. study_uid: plain.

    The same images, bundle and version give results of the same UIDs. Raises RequestMalformed or
    StudyInvalid for images that are not of one study and one patient.
    """
    written, report = datetime.now(UTC), drafted.report
    return [
        Result(
            to=peer,
            key=result_uid(drafted.images, report),
            study_uid=study_uid,
            written=written.timestamp(),
            record=report.provenance.record,
            images=len(drafted.images),
            body=_body(peer, drafted, written),
        )
        for peer in peers
    ]


def _body(peer: Peer, drafted: Drafted, written: datetime) -> bytes:
    report, images = drafted.report, drafted.images
    if peer == "pacs":
        return structured_report(report, images, written=written)
    uid = result_uid(images, report)
    return transaction(report, Origin.of(images), uid=uid, written=written).encode()
