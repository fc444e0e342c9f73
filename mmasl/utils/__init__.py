"""Helpers around the losses; nothing here is imported by ``import mmasl``."""
