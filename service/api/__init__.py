"""Speaks HTTP: reads a request, calls the domain, shapes the answer."""
