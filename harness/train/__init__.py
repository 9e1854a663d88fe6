"""Training: the loop, its optimiser and schedule, checkpoints, the statistics of an epoch."""
