"""Turns a run store into tables, figures and pages; never trains."""
