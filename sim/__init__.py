"""Simulators of the machine: functional (bits) and cycle (bits and time)."""
