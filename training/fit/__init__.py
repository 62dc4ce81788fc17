"""Trains a recipe: what each step sees, the loss, and the loop on Lightning."""
