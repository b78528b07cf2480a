"""The executor is in `executor`, which PSI/J loads by the path of that file."""
