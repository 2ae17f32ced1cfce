"""What can be wrong with an artifact or with what is fed to it."""

from __future__ import annotations

from hw.errors import VdlaError


class ArtifactError(VdlaError):
    """An artifact that cannot be read, is damaged, or was made for another machine."""


class InputError(VdlaError):
    """Inputs whose names, shapes or dtypes are not those the artifact declares."""
