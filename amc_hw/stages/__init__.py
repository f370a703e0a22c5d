"""The steps of a compression, one file each; every step reads a run folder, does its part and writes it back."""
