"""The stages from raw texts to a gated ONNX student: one stage a file, without Prefect."""
