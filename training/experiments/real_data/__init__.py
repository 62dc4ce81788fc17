"""What the suite measures on real radiographs; README.md has the commands and what was found."""
