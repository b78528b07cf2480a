"""`python -m causeway.shim COMMAND ...`: what the executables call."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from causeway.model.errors import CausewayError
from causeway.shim import COMMANDS, VERSION
from causeway.shim.speech import say, show
from causeway.shim.words import Usage


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    name, *words = arguments
    if name not in (*COMMANDS, "deliver"):
        say(f"{name}: not a command of the Slurm shim")
        return 2
    if words and words[0] in ("-V", "--version"):
        show([VERSION])
        return 0
    try:
        command = importlib.import_module(f"causeway.shim.commands.{name}")
        code: int = command.run(words)
        sys.stdout.flush()
    except Usage as error:
        say(f"{name}: {error}")
        say(f'Try "{name} --help" for more information')
        return error.code
    except CausewayError as error:
        said = f"{error.message} (try: {error.hint})" if error.hint else error.message
        say(f"{name}: error: {said}")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
