"""Model configs, and (with gaze) the expert path."""
