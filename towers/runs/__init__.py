"""The run folder: its tables, events, weights, epochs, report and records."""
