"""The ONNX files: what is exported, and the student's faster variants."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class ExportConfig(Section):
    """ONNX export, the same recipe for backbone, teacher and student."""

    opset: int = Field(default=20, ge=17, le=23)
    """Version of the ONNX operator set."""

    parity_tolerance: float = Field(default=1e-4, gt=0)
    """Largest accepted logit difference to torch, times max(1, largest logit)."""


class QuantizeConfig(Section):
    """Variants of the student's ONNX file (int8, fused, fp16); the fastest good one ships."""

    enabled: bool = True
    """Whether variants are made. Otherwise the fp32 file ships alone, as it was exported."""

    texts: int = Field(default=1000, ge=2)
    """Most validation texts to judge the variants on."""

    calibration_texts: int = Field(default=256, ge=1)
    """Training texts that show how large activations get; their labels are not used."""

    ship: Literal["fastest", "fp32", "int8"] = "fastest"
    """Precision of the file that ships: that of the fastest good variant, or always this one."""

    max_metric_drop: float = Field(default=0.005, ge=0, le=1)
    """Largest accepted loss of the main metric against the fp32 student (0.005 is half a point)."""

    max_agreement_drop: float = Field(default=0.02, ge=0, le=1)
    """Largest accepted loss of agreement with the teacher against the fp32 student's."""

    fp16_tolerance: float = Field(default=0.05, gt=0)
    """Largest accepted logit difference of the fp16 file, times max(1, largest logit)."""

    bootstrap_samples: int = Field(default=1000, ge=100)
    """Resamples of the validation texts behind each interval."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    blocks: int = Field(default=10, ge=4)
    """Blocks of the timing; each block opens every variant anew."""

    calls: int = Field(default=8, ge=1)
    """Timed texts per block."""

    seconds: float = Field(default=30.0, gt=0)
    """Time for the timing, in seconds. No new block starts later, once four blocks are done."""
