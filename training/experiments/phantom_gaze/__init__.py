"""Does gaze help? Arms of training on phantoms, compared over seeds (README.md beside this)."""
