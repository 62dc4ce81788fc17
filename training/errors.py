"""The root of training's own errors."""


class TrainingError(Exception):
    """Something that the person at the command line can put right; the message says how."""
