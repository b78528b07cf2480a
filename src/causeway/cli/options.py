"""Options and arguments that many commands share, each with the sentence that help and docs show.

A command's own docstring tells of what is its own. What a command means differently (JSON that is
not the answer, say) it takes as a plain `Flag` and tells itself.
"""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(negative="", help="Print the answer as JSON.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")]
Named = Annotated[str, Parameter(help="Identifier or name.")]
Limit = Annotated[int, Parameter(help="At most this many.")]
