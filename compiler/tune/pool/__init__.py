"""A pool of devices that several tuners share: a scheduler, devices of named kinds, tuners that submit jobs.

Built on Dask distributed.  One process schedules (:func:`~compiler.tune.pool.scheduler.serve`); every device registers
with its kind as a resource (:func:`~compiler.tune.pool.device.serve`) and works on one job at a time; a tuner measures
through :class:`~compiler.tune.pool.measurer.PoolMeasurer`, which is a measurer like those of this machine.  All of them
hold the same keys (:mod:`compiler.tune.pool.keys`): whoever does not can neither submit nor serve.

This package imports Dask (``pip install vdla[pool]``) and nothing heavy of the kit, so that it runs on a board.
"""

from compiler.tune.pool.errors import PoolError
from compiler.tune.pool.keys import create_keys, default_folder, load_keys
from compiler.tune.pool.measurer import PoolMeasurer

__all__ = ["PoolError", "PoolMeasurer", "create_keys", "default_folder", "load_keys"]
