"""A finished run that answers: what to recommend, to whom, and why."""
