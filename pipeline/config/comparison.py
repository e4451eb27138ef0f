"""Other ways to adapt a backbone, beside adapters."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section


class LoraConfig(Section):
    """LoRA by PEFT, on the attention's projections that PEFT names for the architecture."""

    rank: int = Field(default=8, ge=1)
    """Rank of each change."""

    alpha: int = Field(default=16, ge=1)
    """A change is multiplied by alpha / rank."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability on a change's input while training."""


class CompareConfig(Section):
    """What `adapter-distill compare` sets side by side; `finetune` is the budget of all."""

    methods: tuple[Literal["houlsby", "pfeiffer", "parallel", "lora", "full"], ...] = (
        "houlsby",
        "pfeiffer",
        "parallel",
        "lora",
        "full",
    )
    """Kinds of adapters, LoRA, and full fine-tuning; the frozen backbone with its head is always
    there."""

    bottleneck_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (16, 256)
    """Further sizes of Houlsby adapters, beside the teacher's own."""

    lora: LoraConfig = LoraConfig()
    """Rank and scale of LoRA."""

    lora_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of LoRA; that of the adapters is `finetune.learning_rate`."""

    full_learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of full fine-tuning."""
