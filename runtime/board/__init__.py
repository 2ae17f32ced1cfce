"""Artifacts on real machines: one driver, and what it talks to."""
