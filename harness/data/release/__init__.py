"""Making the shipped archives of rendered people, and their dataset card."""
