"""What methods cost: the step beside a reference step, and the overhead of each part."""
