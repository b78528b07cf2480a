"""A development session at an island: an SSH server inside a job, and its working folder kept.

    server    the job's program: who may in, what they may ask for, and when it ends
    shells    one command or shell of a session, with or without a terminal
    saving    the working folder as a checkpoint, and back                            (no network)
    notebook  Jupyter, started when somebody first asks for it

It runs as the job runs: in the job's sandbox, limits and folder, as the island's user, listening on
loopback only. People reach it through the centre like any port of a job (`docs/interactive.md`).
"""
