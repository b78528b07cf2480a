"""Slurm's commands in front of the federation, for programs that know no other door.

    causeway shim slurm ~/slurm-bin && export PATH=~/slurm-bin:$PATH

writes small executables named sbatch, squeue, scancel, sacct, sinfo, scontrol and srun. Each is a
process of its own that asks the control plane over HTTP and prints what Slurm 22.05 would print.

    words       command lines, except sbatch's, whose options are `spec.slurm_options`
    centre      the calls to the control plane
    rows        jobs as Slurm sees them: numbers, states, reasons, times
    table       the two languages in which people ask for columns
    batch       sbatch: from a command line to what is submitted
    folder      the working folder: shared with the island, or carried there and back
    inside/     shell texts that go with a job: its wrapper, and the srun that it finds
    spool       what this machine still owes to its jobs: log files, and files that come back
    deliver     the process that pays it
    late        files that programs write after they have submitted
    direct      the same without command lines, for plug-ins
    commands/   one module per command

Only what a command needs is imported: programs call squeue every few seconds.
"""

COMMANDS = ("sbatch", "squeue", "scancel", "sacct", "sinfo", "scontrol", "srun")
"""What is written into the folder that people put on their PATH."""
VERSION = "slurm-wlm 22.05.8 (causeway)"
"""What `--version` says: the Slurm whose formats these commands follow."""
