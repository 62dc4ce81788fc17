"""Decodes radiographs and hides what identifies a patient."""
