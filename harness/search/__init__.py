"""Search: Optuna studies with an equal budget for every method, shared by workers that may die."""
