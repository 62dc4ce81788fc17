"""Reads studies from manifests, tars and folders, alike for the service and for training."""
