"""Devices that a profiler program times: this computer, others behind ssh, NVIDIA GPUs."""
