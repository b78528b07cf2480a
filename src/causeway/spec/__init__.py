"""From what a person wrote to `Submission`: one file in, validated nouns or one clear error out.

    reading     text -> plain tree; size, depth, node and alias bounds; duplicate keys refused
    units       "2GiB", "1h30m", "500m", "5.00 USD" -> integers with units
    fields      a cursor over one mapping that knows every place by name (`$.resources.memory`)
    native      Causeway's own YAML or JSON -> Submission (arrays, stages)
    skypilot    SkyPilot task YAML      -> the same tree as native, plus notes
    dstack      dstack configuration    -> the same tree as native, plus notes
    slurm       `#SBATCH` scripts       -> the same tree as native, plus notes
    rendering   JobSpec or Submission -> plain data that `parse` reads back to the same value

What a foreign file asks for and cannot be honoured is said in `Submission.notes`; nothing is
dropped in silence. The room is pure: it opens no file and never looks a name up, so `where`
expressions, secrets and artefacts are only checked for their form here.
"""

from causeway.spec.entrance import parse, parse_bytes
from causeway.spec.rendering import render, render_submission

__all__ = ["parse", "parse_bytes", "render", "render_submission"]
