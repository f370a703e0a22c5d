"""From a device to its latency table: networks to run, their times, and the proof by the clock."""
