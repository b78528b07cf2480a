"""The price room."""
