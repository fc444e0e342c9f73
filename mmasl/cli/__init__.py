"""What the scripts in ``tools/`` share: flags, checks before the run, and checkpoints."""
