"""The contract between training and service: one immutable, self-describing directory."""
