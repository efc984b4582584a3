"""The paper's claim on the demo base: who learns most from how many parameters. See `__main__` for the command."""
