"""Whether gaze teaches a tower to look where the finding is."""
