"""amc-hw: compress a CNN to a latency budget measured on the device it will run on."""

__version__ = "0.1.0"
