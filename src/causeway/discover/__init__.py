"""The discover room."""
