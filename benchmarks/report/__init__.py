"""Tables, plots and pages of results, and their comparison."""
