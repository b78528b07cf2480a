"""Clouds through SkyPilot: machines that are rented when work waits, and that turn themselves in.

    profile     TOML of the operator -> what may be rented, where, under which law, for how much
    said        what SkyPilot's API server answered -> values and sentences             (pure)
    task        one rental -> the task that SkyPilot is asked to launch                  (pure)
    parcel      what the machine is given: our own wheel, its island's profile, its limits
    wire        SkyPilot's API server over HTTP; none of SkyPilot's code is imported
    fits        waiting jobs x offers -> who could run where, by the real scheduler and the law
    book        the durable record of what was rented, and the lock on it
    centre      what a burst needs of the control plane
    burst       one round: look, observe, decide, write down, act
    lease       runs on the rented machine: starts the agent, and ends the lease by itself

What is decided is the room `burst`'s. Nothing is imported here, since `lease` stays in memory.
"""
