"""Facts of quantisation: the variants of a student's ONNX file, and the one that ships."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.config.provider import Provider as Provider
from pipeline.facts.arms import Arm, variant_arm
from pipeline.facts.quality import Interval, Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One way to run the student on a CPU."""

    name: str
    file: str
    """Inside the bundle's ``onnx``."""
    size_bytes: int
    cost: Measured
    """Loss of the main metric and of the agreement with the teacher, on the validation split. It is
    the fp32 student's value minus this variant's."""
    fidelity: Measured
    """Closeness to the teacher on the validation split."""
    refused: str | None
    """Why it may not ship; None where it may."""
    cpu_ms: float | None = None
    """Median over blocks of the thread CPU time of a text, on one thread; None where refused."""
    cpu_ratio: float | None = None
    """CPU time as a multiple of the fp32 student's: geometric mean over blocks."""
    cpu_ratio_interval: Interval | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeFacts:
    """Variants of the student's ONNX file, and which of them ships."""

    texts: int
    """Validation texts that they were judged on."""
    confidence: float
    chosen: str
    """Name of the variant that ships."""
    file: str
    """Its file."""
    variants: tuple[Variant, ...]
    int8_products: int
    """Products of the int8 file that are computed in 8 bits: all that have a weight."""
    has_vnni: bool
    """Whether this processor has 8-bit dot products; without them int8 is hardly faster."""
    fp16_bytes: int
    fp16_difference: float
    """Largest difference of an output between the fp16 copy, for GPUs, and the fp32 file."""

    @property
    def arm(self) -> Arm:
        """Return the benchmark's name of the file that ships."""
        return variant_arm(self.chosen)


Precision = Literal["fp32", "int8"]


class Runtime(BaseModel):
    """One way to run a bundle: a file, and the session settings that it was measured with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(default="model.onnx", pattern=r"^[A-Za-z0-9_.-]+\.onnx$")
    """Name of the file, inside the bundle's ``onnx``."""
    disabled_optimizers: tuple[str, ...] = ()
    """onnxruntime's own graph optimisers that slow this file down."""
    session_config: dict[str, str] = {}
    """Entries of the session's configuration."""
    provider: Provider = Field(default="cpu", exclude=True)
    """Execution provider of onnxruntime: the choice of who runs it, and not in the bundle."""
