"""Several budgets and seeds, one run each: on this machine or on a Ray cluster."""
