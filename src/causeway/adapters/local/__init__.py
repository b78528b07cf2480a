"""The local engine: attempts as real processes on this host, isolated as strongly as it allows.

    engine.py       the port: start, stop, poll, forget; one thread that owns every attempt
    conductor.py    how attempts move from set-up to the end
    launcher.py     how attempts begin: what each is given, which processes are ordered
    attempt.py      one attempt's mutable present and how it becomes a `Status`
    orders.py       what each process is started with
    gauge.py        what an attempt uses; census.py reads it where there are no groups
    host.py         which isolation works here
    fork_server.py  the program that forks every process (cold: bare; warm: with torch imported)
    spawner.py      the engine's end of a fork server
    namespaces.py   a private view of the system for a forked, already warm process
    cgroups.py      CPU, memory and process limits, v1 or v2, whichever is writable
    sandbox.py      bubblewrap command lines, and the test that they work here
    images.py       container images: names, environment, command line
    staging.py      orders to have images made ready, and what became of them
    image_stage.py  the program that pulls, loads, mounts and drops images
    accelerators.py which devices each attempt holds, and what they draw
    warm.py         which programs can be forked into a warm process
    probe.py        what is on this host
    power.py        energy of one attempt: counters where readable, else a model

`fork_server`, `namespaces` and `image_stage` run as separate programs and import the standard
library only.
"""

from causeway.adapters.local.engine import LocalEngine
from causeway.adapters.local.power import PowerMeter

__all__ = ["LocalEngine", "PowerMeter"]
