"""The energy room."""
