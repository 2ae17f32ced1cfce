"""Settings of Dask for a pool: quiet, and without the web pages, which know nothing of keys."""

from __future__ import annotations

import logging
import warnings

from dask import config
from distributed.versions import VersionMismatchWarning

LOCAL_HTTP = "127.0.0.1:0"
"""Where the web server listens that Dask always starts; it has no pages (:func:`apply`)."""


def apply() -> None:
    """Set them in this process."""
    config.set(
        {
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
            "distributed.comm.timeouts.connect": "10s",
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.memory.pause": False,
            "distributed.worker.memory.terminate": False,
        }
    )
    # The kit's versions are compared (they are part of a device's kind); a board's Python may be another.
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
