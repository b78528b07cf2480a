"""Commands that put other systems' commands in front of the federation."""

from __future__ import annotations

from pathlib import Path

from causeway.cli import exits, talk


def slurm(folder: Path, /) -> int:
    """Write sbatch, squeue, scancel, sacct, sinfo, scontrol and srun into a folder.

    Parameters
    ----------
    folder
        Folder to put first on the PATH; made where it is not there.
    """
    from causeway.shim.install import install

    places = install(folder)
    talk.say(f"{', '.join(place.name for place in places)} are in {folder}.")
    talk.say(f'Use them: export PATH="{folder.absolute()}:$PATH"')
    return exits.OK
