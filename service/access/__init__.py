"""Decides who may ask: keys with scopes, or without keys only this machine."""
