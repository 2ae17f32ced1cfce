"""The face of the VDLA kit: compile a network, run it on the simulated accelerator, see where the cycles go.

::

    import vdla
    artifact = vdla.compile("resnet18", config="pynq-z1")
    report = vdla.simulate(artifact, image)
    print(report.cycles, report.utilization)
"""

from vdla._shadow import ShadowedPackageError, check_root_packages

check_root_packages()

from hw.config import Config  # noqa: E402  the check above must come first
from hw.errors import VdlaError  # noqa: E402
from runtime.artifact import Artifact  # noqa: E402
from runtime.executor import Executor  # noqa: E402
from runtime.version import KIT_VERSION as __version__  # noqa: E402
from vdla.api import build, compile, simulate  # noqa: E402
from vdla.explore import Exploration, explore  # noqa: E402
from vdla.report.model import Report  # noqa: E402

__all__ = [
    "Artifact",
    "Config",
    "Executor",
    "Exploration",
    "Report",
    "ShadowedPackageError",
    "VdlaError",
    "__version__",
    "build",
    "compile",
    "explore",
    "simulate",
]
