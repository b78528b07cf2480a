"""The sdk room."""
