"""Tells PSI/J of the executor `causeway`."""

from packaging.version import Version
from psij.descriptor import Descriptor

__PSI_J_EXECUTORS__ = [
    Descriptor(
        name="causeway",
        nice_name="Causeway",
        version=Version("0.1.0"),
        cls="psij_causeway.executor.CausewayJobExecutor",
    )
]
