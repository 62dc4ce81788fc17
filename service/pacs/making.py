"""Makes the results of a draft report: an SR for the PACS, a Bundle for the FHIR server."""

from collections.abc import Collection
from datetime import UTC, datetime

from service.pacs.draft_sr import structured_report
from service.pacs.drafting import Drafted
from service.pacs.outcomes import Peer
from service.pacs.result_uids import result_uid
from service.pacs.results import Result


def make_results(peers: Collection[Peer], study_uid: str, drafted: Drafted) -> list[Result]:
    """Returns the results of a draft, one for each peer. study_uid: plain.

    The same images, bundle and version give results of the same UIDs.
    """
    written, report, images = datetime.now(UTC), drafted.report, drafted.images
    key = result_uid(images, report.provenance)

    def body(peer: Peer) -> bytes:
        return structured_report(report, images, written=written)

    return [
        Result(
            to=peer,
            key=key,
            study_uid=study_uid,
            written=written.timestamp(),
            record=report.provenance.record,
            images=len(images),
            body=body(peer),
        )
        for peer in peers
    ]
