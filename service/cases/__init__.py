"""Stores studies with their vectors and finds similar ones: the case library."""
