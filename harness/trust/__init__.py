"""Whether results can be relied on: cells run again, what changed since they ran, what a machine can do."""
