"""`python -m causeway.cli`: the same as the command `causeway`."""

from causeway.cli.app import main

main()
