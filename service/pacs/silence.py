"""Silences the logs of pynetdicom and pydicom, which show values of datasets, such as names."""

import logging

from pynetdicom import _config


def silence_pynetdicom() -> None:
    """Turns off both logs in this process. Call it before the first association.

    pynetdicom shows whole datasets at its lower levels. pydicom quotes each value that breaks a
    rule, also in a thread of pynetdicom that reads what a peer asks.
    """
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    logger = logging.getLogger("pynetdicom")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
    logging.getLogger("pydicom").addFilter(_nothing)  # `imaging.libraries` sets its level


def _nothing(_: logging.LogRecord) -> bool:
    return False
