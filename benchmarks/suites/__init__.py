"""The benchmark suites: one file a subject, run by pytest-benchmark."""
