"""The run store: every cell on disk, what it left, and whether it is still as it was written."""
