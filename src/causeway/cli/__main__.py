"""`python -m causeway.cli`: the same as the command `causeway`."""

import sys

from causeway.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
