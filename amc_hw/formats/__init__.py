"""Networks as files that devices run: converted, run, read as a graph, and written for other channel counts."""
