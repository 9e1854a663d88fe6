"""The run store: what lies on the disk, and whether it is as it was written."""
