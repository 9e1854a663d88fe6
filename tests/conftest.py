"""Being here puts `tests/` on the import path, so any test may `from factories import write_cuhk`."""
