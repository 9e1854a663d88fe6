"""What enters and leaves: results of other code, comparisons of files, evidence, plans, exports."""
