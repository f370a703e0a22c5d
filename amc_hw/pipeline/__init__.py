"""The steps of a compression in reading order, one file each, and the call that takes them all."""
