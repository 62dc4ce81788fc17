"""Defines the bundle, the exported model directory that training writes and the service reads."""
