"""Measures an embedding: one module a measure, and the suite that runs them on a bundle or run."""

MEASURES = ("zero_shot", "linear_probe", "retrieval", "geometry", "reports", "maps")
"""Names of the measures, in the order of a report."""
