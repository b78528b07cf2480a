"""The shell at an island, and the brain that it asks.

    core.py          decides: stimuli in, instructions out; no clock, no network, no disk
    attempt.py       one attempt at the island: its record and how it ends
    ticks.py         usage intervals, contiguous and counted once
    progress.py      what a job wrote about its own steps, thinned
    acceptance.py    the owner's policy and what fits, checked at this end too
    environment.py   the variables that a job finds
    instructions.py  everything that the core may ask the shell to do
    shell.py         the loops: sync, poll, watch; the only module that knows all the others
    centre.py        requests to the control plane, session and retries included
    identity.py      the island's key and name, in one private file
    journal.py       what an agent must not forget when it is killed, on disk
    folders.py       folders, staging, checkpoints and outputs of attempts on disk
    streams.py       logs on their way to the centre
    health.py        live figures of this host

The core runs unchanged in the simulation test, hundreds at a time under a virtual clock.
"""
