"""Measures throughput: suites for pytest-benchmark, run by `make bench`."""
