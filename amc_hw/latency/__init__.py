"""Latency tables, predictions from them, and how far these can be trusted."""
