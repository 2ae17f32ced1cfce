"""Board files of the kit, one YAML a board; hw.config loads them by name."""
