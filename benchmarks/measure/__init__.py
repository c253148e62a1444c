"""How a rate, a ratio or a peak of memory is measured and recorded."""
