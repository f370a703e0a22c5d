"""ExecuTorch: networks for XNNPACK, and their files as graphs."""
