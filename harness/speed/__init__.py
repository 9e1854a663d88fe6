"""What methods cost, measured in turns: a step beside a plain one, and methods beside each other."""
