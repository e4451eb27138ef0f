"""Names of onnxruntime's execution providers, as settings and options give them."""

from typing import Literal

Provider = Literal["cpu", "cuda", "tensorrt", "openvino", "coreml"]
