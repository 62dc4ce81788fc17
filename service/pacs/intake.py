"""Defines who takes received objects in, whatever the way by which they come."""

from typing import Protocol


class Intake(Protocol):
    """Takes DICOM files in. Thread-safe."""

    @property
    def full(self) -> bool:
        """Whether nothing more fits now, so that no association should be accepted."""
        ...

    def take(self, file: bytes) -> None:
        """Keeps a DICOM file. It is on the disk, encrypted, once this returns.

        Raises StoreFull where nothing fits, StoreUnavailable where the disk fails, and
        ImageUndecodable for what is no DICOM file of a study.
        """
        ...
