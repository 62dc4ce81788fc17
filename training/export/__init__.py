"""Exports a model as a bundle: ONNX graphs checked against torch, int8 graphs, model card."""
