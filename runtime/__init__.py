"""Compiled artifacts, devices and the graph executor. Needs no compiler: an artifact is all it takes."""
