"""The two-tower model, and how a config becomes one."""
