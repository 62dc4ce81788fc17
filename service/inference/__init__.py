"""Turns radiographs and texts into unit vectors, and vectors into findings."""
