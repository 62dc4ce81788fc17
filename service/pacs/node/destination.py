"""Sends results to a DICOM node by C-STORE."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.address import NodeAddress
from service.pacs.contexts import ECHO, FIND, query_contexts
from service.pacs.destination import Destination
from service.pacs.node.associations import PATIENCE, Caller, NothingAccepted, Patience
from service.pacs.node.link import Link
from service.pacs.node.query import study_query
from service.pacs_settings import PacsSettings

_SUCCESS = 0x0000
_STORED = (_SUCCESS, 0xB000, 0xB006, 0xB007)
"""Success, and warnings about an object that was stored: elements changed, discarded or unusual."""
_BUSY = (0xA700, 0xA7FF)
"""First and last status of a node that is out of resources, such as disk (PS3.4 B.2.3)."""


class NodeDestination(Destination):
    """A DICOM node that results are sent to, as `Destination` describes."""

    def __init__(
        self, address: NodeAddress, settings: PacsSettings, patience: Patience = PATIENCE
    ) -> None:
        self._caller = Caller(address, settings, patience)

    def send(self, file: bytes) -> None:
        """Stores a DICOM file. Returns once the node has acknowledged it.

        Raises PeerUnavailable where trying again may help, PeerRefused where it would not.
        """
        try:
            dataset = dcmread(BytesIO(file))
            contexts = _contexts(dataset)
        except (InvalidDicomError, AttributeError, EOFError) as error:
            raise PeerRefused("Only a DICOM file can be sent to a DICOM node.") from error
        self._caller.run(contexts, lambda link: _store(link, dataset))

    def has_study(self, study_uid: str) -> bool | None:
        """Tells whether the node has a study; None if it cannot be asked. Raises like `send`."""
        try:
            answers = self._caller.run(
                query_contexts(FIND), lambda link: link.find(study_query(study_uid))
            )
        except NothingAccepted:
            return None
        return any(answer.get("StudyInstanceUID") == study_uid for answer in answers)

    def reachable(self) -> bool:
        """Tells whether the node answers a C-ECHO. Raises like `send` where it does not."""
        return self._caller.run(query_contexts(ECHO), Link.echo) == _SUCCESS

    def close(self) -> None:
        """Ends its associations."""
        self._caller.close()


def open_node_destination(
    address: NodeAddress, settings: PacsSettings, patience: Patience = PATIENCE
) -> NodeDestination:
    """Returns the destination of a DICOM node. Nothing is sent to it yet.

    Raises SettingInvalid for a certificate that cannot be read.
    """
    return NodeDestination(address, settings, patience)


def _contexts(dataset: Dataset) -> list[PresentationContext]:
    """Returns a context for the object as it is; a native one may also go in two others."""
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    others = () if syntax.is_compressed else (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    return [build_context(dataset.SOPClassUID, each) for each in dict.fromkeys((syntax, *others))]


def _store(link: Link, dataset: Dataset) -> None:
    status = link.store(dataset)
    if status in _STORED:
        return
    if _BUSY[0] <= status <= _BUSY[1]:
        raise PeerUnavailable(
            f"The DICOM node has no room for a result (status {status:04X}). Free its disk."
        )
    raise PeerRefused(
        f"The DICOM node refuses a result (status {status:04X}). Its log says why: check that it "
        "takes structured reports from ECLIP_AE_TITLE."
    )
