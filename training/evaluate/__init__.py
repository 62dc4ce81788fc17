"""Measures of an embedding: zero-shot, retrieval."""
