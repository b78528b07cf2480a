"""The perceive room."""
