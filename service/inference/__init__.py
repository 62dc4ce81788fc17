"""Radiographs and texts → unit vectors."""
