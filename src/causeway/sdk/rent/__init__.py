"""What makes a rented room ready: the program of a rental's job, and its products.

    program   rank 0 listens for SSH and says when all is ready; the other ranks are nodes
    room      what the room is: who may in, how large it is, which rank this is
    slurm     munged, slurmctld and a slurmd for each rank
    ray       a head, and a node for each other rank
    in_ray    what Ray's own Python runs of it

It runs as the job runs: in the engine's sandbox, as an ordinary user without any capability, with
ports on loopback only. So everything that it starts, and all that the renter does, ends with the
sandbox; what is left is the attempt's folder, which the agent wipes (`agent.wiping`). That the
product is ready is said by the first line of the progress file; the meter starts with it
(`agent.renting`).
"""
