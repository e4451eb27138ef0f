"""Variants of a student on a CPU: the files, and the settings with which onnxruntime opens each."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.facts.variants import Precision, QuantizeFacts, Runtime, Variant
from pipeline.graphs.int8 import INT8_SESSION

FP32_FILE, FUSED_FILE = "model.onnx", "model_optimized.onnx"
INT8_FILE, FP16_FILE = "model_quantized.onnx", "model_fp16.onnx"
"""File names that transformers.js, Optimum and Text Embeddings Inference know."""
# On some processors, the fused LayerNorm is slower than its parts.
_WITHOUT_SKIP = ("SkipLayerNormFusion",)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnableVariant:
    """One way to run a student: a file and onnxruntime's settings for it."""

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
"""Variants by name; the others are compared with the first."""


def fastest(facts: QuantizeFacts, precision: Precision) -> Variant:
    """Return the fastest variant of a precision whose file is in the bundle, or a refused one.

    A fused file is in the bundle only where it ships.
    """
    there = [
        variant
        for variant in facts.variants
        if VARIANTS[variant.name].precision == precision
        and (variant.file != FUSED_FILE or variant.file == facts.file)
    ]
    return min(there, key=lambda each: each.cpu_ms if each.cpu_ms is not None else float("inf"))
