"""The root of training's own errors, and what the command line ends with."""

from typing import ClassVar

DATA_FAULT, USAGE_FAULT, OWN_FAULT = 1, 2, 70
"""Exit statuses. A bad command ends with 2 in typer too, and 70 is EX_SOFTWARE of sysexits.h."""


class TrainingError(Exception):
    """Something that the person at the command line can put right; the message says how."""

    exit_status: ClassVar[int] = DATA_FAULT
