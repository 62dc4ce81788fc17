"""Asks a language model, behind OpenAI-compatible servers such as vLLM, for a cited draft."""
