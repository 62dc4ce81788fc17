"""Vectors → known studies."""
