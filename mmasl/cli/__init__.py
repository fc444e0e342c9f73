"""Shared parts of the scripts in ``tools/``: flags, checks before the run, and checkpoints."""
