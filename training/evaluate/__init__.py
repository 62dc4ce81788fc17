"""Measures of an embedding, one module each, and the suite that runs them on a bundle or a run."""
