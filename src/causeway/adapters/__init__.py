"""The adapters room."""
