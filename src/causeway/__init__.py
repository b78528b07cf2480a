"""Causeway: an open Computing Power Internet. Read `docs/architecture.md` first."""

__version__ = "0.1.0"
