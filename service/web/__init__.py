"""Serves the workbench, a page for trying the service in a browser."""
