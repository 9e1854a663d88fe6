"""Being here puts `tests/` on the import path, so that any test may say `from factories import write_cuhk`."""
