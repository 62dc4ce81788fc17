"""Holds objects as they arrive from DICOM callers, within limits of memory."""

import io
import threading
import time
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage

COPIES = 2
"""A received object is held as it arrives, and as the file that is made of it."""
_COMMAND_BYTES = 2**16
"""Bytes of the command in front of an object."""
_PASSED = 4
"""An object that is too large is read and passed over up to so many limits, to answer its sender.
Then the association is aborted."""
_NAP_S = 0.002


class ReceivingMemory:
    """Bytes that all objects together may take as they arrive. Thread-safe.

    total: of all. each: of one object.
    """

    def __init__(self, total: int, each: int) -> None:
        self.total, self.each = total, each
        self._free, self._changing = total, threading.Lock()

    @property
    def free(self) -> int:
        """Bytes that are not taken."""
        return self._free

    def take(self, size: int) -> bool:
        """Takes so many bytes, if there are so many."""
        with self._changing:
            if size > self._free:
                return False
            self._free -= size
            return True

    def give(self, size: int) -> None:
        """Gives bytes back."""
        with self._changing:
            self._free += size


class ObjectBuffer(io.BytesIO):
    """The bytes of one object. Beyond a limit it holds nothing more, and counts what it passes."""

    def __init__(self, memory: ReceivingMemory) -> None:
        super().__init__()
        self._memory, self._taken = memory, 0
        self.passed = 0
        """Bytes that came since a limit was met."""
        self.too_large = False
        """Whether the limit of one object was met."""

    @property
    def refused(self) -> bool:
        """Whether a limit was met, so that the object is not whole."""
        return self.passed > 0

    def write(self, data: Any) -> int:
        """Adds bytes, or counts them where there is no room."""
        size = len(data)
        self.too_large = self.too_large or self.tell() + size > self._memory.each
        if self.refused or self.too_large or not self._memory.take(size * COPIES):
            self.free()
            self.passed += size
            return size
        self._taken += size * COPIES
        return super().write(data)

    def empty(self) -> None:
        """Lets go of the bytes. Their room stays taken, for the file that was made of them."""
        self.seek(0)
        self.truncate()

    def free(self) -> None:
        """Lets go of the bytes and of their room."""
        self.empty()
        self._memory.give(self._taken)
        self._taken = 0


class BoundedDimse(DIMSEServiceProvider):
    """Puts messages together from their parts, at most one ahead of the one that is handled."""

    def __init__(self, association: Any, memory: ReceivingMemory) -> None:
        super().__init__(association)
        self._memory = memory
        self._buffers: set[ObjectBuffer] = set()

    def receive_primitive(self, primitive: Any) -> None:
        """Takes a part of a message. Aborts the association for one that cannot be read."""
        while self.msg_queue.qsize() and not self.assoc._kill:
            time.sleep(_NAP_S)  # meanwhile the caller's bytes wait in the network
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = buffer = ObjectBuffer(self._memory)
            self._buffers = {each for each in self._buffers if each._taken} | {buffer}
        message = self.message
        try:
            super().receive_primitive(primitive)
        except Exception:  # pynetdicom raises anything for what it cannot decode
            self._abort()
        else:
            data, command = message.data_set, message.encoded_command_set
            passed = isinstance(data, ObjectBuffer) and data.passed
            if passed > _PASSED * self._memory.each or command.tell() > _COMMAND_BYTES:
                self._abort()

    def forget(self) -> None:
        """Lets go of all that the association held."""
        self.message = None
        for each in self._buffers:
            each.free()

    def _abort(self) -> None:
        """Ends the association as for a message that is no DICOM (PS3.8 9.2, event 19)."""
        self.dul.event_queue.put("Evt19")
