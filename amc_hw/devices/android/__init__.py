"""Phones: the ways to reach them, benchmark_model, and what it prints."""
