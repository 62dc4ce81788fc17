"""Drafts reports in which every sentence cites passages of similar cases and follows from them."""
