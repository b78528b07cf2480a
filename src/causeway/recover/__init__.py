"""The recover room."""
