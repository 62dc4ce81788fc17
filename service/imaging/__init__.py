"""Bytes → Radiograph: decoding and de-identification."""
