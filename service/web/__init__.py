"""The workbench: one page in a browser."""
