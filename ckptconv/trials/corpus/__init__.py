"""Malformed checkpoints, made by code: one file a format, each with its `CASES`."""
