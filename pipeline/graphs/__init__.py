"""ONNX files: traced, compared, counted, rewritten."""
