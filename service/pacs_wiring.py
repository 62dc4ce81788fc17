"""Opens the way from received radiographs to draft reports in the PACS."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial

from service.api.context import Services
from service.errors import StoreUnavailable
from service.health import READY
from service.pacs.address import parse_address
from service.pacs.desk.answered import Answered
from service.pacs.desk.desk import Desk
from service.pacs.desk.drafting import Drafting
from service.pacs.desk.making import make_results
from service.pacs.desk.outbox import Outbox, Recipient
from service.pacs.desk.outcomes import Outcomes, Peer
from service.pacs.desk.recipients import FhirRecipient, PacsRecipient
from service.pacs.desk.rules import read_rules
from service.pacs.drafts.fhir_server import FhirServer
from service.pacs.opening import open_destination
from service.pacs.receive.receiver import Receiver
from service.pacs.receive.spool import Spool, spool_key
from service.settings import Settings
from service.telemetry import log

_OUTBOX_SHARE = 8
"""The share of the spool's bytes that results may take: one of so many."""


@contextmanager
def receiving(opened: Services) -> Iterator[Services]:
    """Gives the services with all that receives radiographs and sends draft reports.

    On entry what waited on the disk is taken up again. Raises SettingInvalid, StoreUnavailable, or
    TextUnavailable if the bundle encodes no texts, without which no report is drafted.
    """
    opened.bundle.manifest.require_text()
    settings = opened.settings
    with ExitStack() as stack:
        folder, key = settings.data_dir / "pacs", spool_key(settings)
        outcomes = Outcomes(folder, opened.library.pseudonyms)
        share = settings.spool_bytes // _OUTBOX_SHARE
        reserve = settings.disk_reserve_bytes
        kept = Spool(folder / "outbox", key, share, reserve_bytes=reserve)
        stack.callback(kept.close)
        inbox = Spool(folder / "inbox", key, settings.spool_bytes - share, reserve_bytes=reserve)
        stack.callback(inbox.close)
        recipients = _recipients(settings, stack)
        outbox = stack.enter_context(
            closing(Outbox(kept, recipients, outcomes, settings.results_wait_s))
        )
        drafting = Drafting(settings, opened.encoder, opened.reporter, read_rules(settings.rules))
        making = partial(make_results, tuple(recipients))
        answered = Answered(folder / "answered.hashes", opened.library.pseudonyms)
        desk = Desk(inbox, outbox, drafting, making, outcomes, answered, settings.quiet_s)
        stack.enter_context(closing(desk))
        outbox.start()
        desk.start()
        receiver = stack.enter_context(Receiver(desk, settings))
        log().info("receiving", ae_title=settings.ae_title, port=receiver.port)
        yield replace(opened, intake=desk, pacs_state=partial(_state, desk, outbox, receiver))


def _recipients(settings: Settings, stack: ExitStack) -> dict[Peer, Recipient]:
    """Opens those to whom results go."""
    recipients: dict[Peer, Recipient] = {}
    if settings.results_to is not None:
        destination = open_destination(parse_address(settings.results_to), settings)
        stack.callback(destination.close)
        recipients["pacs"] = PacsRecipient(destination)
    if settings.fhir_url is not None:
        token = None if settings.fhir_token is None else settings.fhir_token.get_secret_value()
        server = FhirServer(str(settings.fhir_url), token, ca=settings.pacs_ca)
        stack.callback(server.close)
        recipients["fhir"] = FhirRecipient(server)
    return recipients


def _state(desk: Desk, outbox: Outbox, receiver: Receiver) -> str:
    """Says how receiving and sending go. Raises StoreUnavailable where they have stopped."""
    if not (desk.alive and outbox.alive and receiver.alive):
        raise StoreUnavailable("Receiving from the PACS has stopped. Restart the server.")
    if desk.full:
        return "full: radiographs are refused until some that wait are processed or sent"
    if failing := outbox.failing:
        waiting = "1 result waits" if failing == 1 else f"{failing} results wait"
        return f"away: {waiting} for a PACS or FHIR server that does not take what it is sent"
    return READY
