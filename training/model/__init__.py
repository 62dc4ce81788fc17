"""Builds models: open_clip's towers, their tokenizers, and the expert path of gaze."""
