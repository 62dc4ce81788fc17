"""Defines where results go: a PACS that stores DICOM objects, whatever its protocol."""

from typing import Protocol


class Destination(Protocol):
    """A PACS that results are sent to. Thread-safe."""

    def send(self, file: bytes) -> None:
        """Stores a DICOM file. Returns once the peer has acknowledged it.

        Raises PeerUnavailable where trying again may help, PeerRefused where it would not.
        """
        ...

    def has_study(self, study_uid: str) -> bool | None:
        """Tells whether the peer has a study; None if it cannot be asked. Raises like `send`."""
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...
