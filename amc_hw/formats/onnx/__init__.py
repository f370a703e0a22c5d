"""ONNX: the exporter, its files as graphs, and ONNX Runtime's kernels."""
