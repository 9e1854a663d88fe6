"""Cells: starting many of them, running one, and everything that makes a cell what it is."""
