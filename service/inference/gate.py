"""Asks a bundle's gate whether an image looks like an upright frontal chest radiograph."""

from service.arrays import UInt8
from service.bundle.gate import Gate
from service.imaging.radiograph import Doubt, RadiographFacts

FRONTAL = frozenset({None, "PA", "AP"})
"""Views that a gate is asked about. Others have another layout, and a header names them."""


def gate_doubts(gate: Gate | None, facts: RadiographFacts, pixels: UInt8) -> tuple[Doubt, ...]:
    """Returns what the layout of the tower's input uint8[H,W] says against a chest radiograph.

    A file whose header names a chest is never refused by its layout.
    """
    if gate is None or facts.view not in FRONTAL or (score := gate.score(pixels)) <= 0:
        return ()
    decides = gate.decides and score >= gate.threshold and not facts.names_chest
    text = (
        "By its layout the image is no nearer to an upright frontal chest radiograph than to one "
        f"turned or inverted (by {score:.0f}, where {gate.threshold:.0f} is refused). Send a chest "
        "radiograph, upright, with bright bones; a lateral view together with the frontal one."
    )
    return (Doubt(text, "alone" if decides else "never"),)
