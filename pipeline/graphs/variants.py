"""The ways to run a student on a CPU: its files, and how onnxruntime opens each."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.facts.variants import Precision, QuantizeFacts, Runtime, Variant
from pipeline.graphs.int8 import INT8_SESSION

FP32_FILE, FUSED_FILE = "model.onnx", "model_optimized.onnx"
INT8_FILE, FP16_FILE = "model_quantized.onnx", "model_fp16.onnx"
"""Names that transformers.js, Optimum and Text Embeddings Inference know."""
# The fused LayerNorm is slower than its parts on some processors.
_WITHOUT_SKIP = ("SkipLayerNormFusion",)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnableVariant:
    """One way to run a student."""

    precision: Precision
    runtime: Runtime


VARIANTS: Mapping[str, RunnableVariant] = {
    "fp32": RunnableVariant(precision="fp32", runtime=Runtime(file=FP32_FILE)),
    "fp32, less fused": RunnableVariant(
        precision="fp32", runtime=Runtime(file=FP32_FILE, disabled_optimizers=_WITHOUT_SKIP)
    ),
    "fused": RunnableVariant(precision="fp32", runtime=Runtime(file=FUSED_FILE)),
    "int8": RunnableVariant(
        precision="int8", runtime=Runtime(file=INT8_FILE, session_config=INT8_SESSION)
    ),
    "int8, less fused": RunnableVariant(
        precision="int8",
        runtime=Runtime(
            file=INT8_FILE, session_config=INT8_SESSION, disabled_optimizers=_WITHOUT_SKIP
        ),
    ),
}
"""By name; the first is what the others are held against."""


def fastest(facts: QuantizeFacts, precision: Precision) -> Variant:
    """Return the fastest way of a precision whose file is in the bundle, or a refused one.

    A fused file is in the bundle only where it is what ships.
    """
    there = [
        variant
        for variant in facts.variants
        if VARIANTS[variant.name].precision == precision
        and (variant.file != FUSED_FILE or variant.file == facts.file)
    ]
    return min(there, key=lambda each: each.cpu_ms if each.cpu_ms is not None else float("inf"))
