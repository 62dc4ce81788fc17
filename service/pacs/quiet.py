"""Silences pynetdicom's own log: at its lower levels it shows datasets, with patients' names."""

import logging

from pynetdicom import _config


def silence_pynetdicom() -> None:
    """Turns off every line and every handler of pynetdicom's log. Call it before an association."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logger = logging.getLogger("pynetdicom")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
