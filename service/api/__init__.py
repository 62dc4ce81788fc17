"""HTTP only: parse, call one domain function, shape the answer."""
