"""The face of the VDLA kit."""

from vdla._shadow import ShadowedPackageError, check_root_packages

check_root_packages()

__version__ = "0.1.0"

__all__ = ["ShadowedPackageError", "__version__"]
