"""Training: studies → CLIP → evaluation → a bundle that the service reads."""
