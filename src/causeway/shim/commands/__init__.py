"""One module per command; each has `run(words) -> exit code`."""
