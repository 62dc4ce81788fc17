"""Reads studies and gaze, renders phantoms, and prepares both as pairs. Needs no torch."""
