"""Studies, gaze and the phantoms that stand in for them."""
