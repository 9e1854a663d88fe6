"""The chapters of the report, one a file."""
