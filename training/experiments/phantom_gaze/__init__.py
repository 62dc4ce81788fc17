"""Runs the experiment 'Does gaze help?': methods compared on phantoms, over seeds (README.md)."""
