"""The kit's version, written once; pyproject.toml reads it from here."""

KIT_VERSION = "0.1.0"
