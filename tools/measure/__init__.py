"""Commands that measure: comparisons of runs, benchmark suites, records of results, gradients of samplers."""
