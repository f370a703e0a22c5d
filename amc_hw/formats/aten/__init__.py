"""A network as the ATen calls that PyTorch makes: the file that an NVIDIA GPU is timed with."""
