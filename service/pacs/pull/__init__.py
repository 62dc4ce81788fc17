"""Turns the studies of an archive into a source for the case library, and reads none twice."""
