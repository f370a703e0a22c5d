"""TFLite: the converter, and its files as graphs."""
