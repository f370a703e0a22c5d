"""Removing channels: which ones, what becomes of the weights that remain, and the smaller network itself."""
