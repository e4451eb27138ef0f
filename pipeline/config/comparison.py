"""Methods other than adapters to adapt a backbone."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section


class LoraConfig(Section):
    """LoRA by PEFT, on the attention's projections that PEFT names for the architecture."""

    rank: int = Field(default=8, ge=1)
    """Rank of the change to each weight."""

    alpha: int = Field(default=16, ge=1)
    """Scale of LoRA: each change is multiplied by alpha / rank."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability on the input of each change while training."""


class CompareConfig(Section):
    """Methods that `adapter-distill compare` trains; `finetune` is the budget of each."""

    methods: tuple[Literal["houlsby", "pfeiffer", "parallel", "lora", "full"], ...] = (
        "houlsby",
        "pfeiffer",
        "parallel",
        "lora",
        "full",
    )
    """Methods to compare: kinds of adapters, LoRA, and full fine-tuning. The frozen backbone with
    its trained head is always included."""

    bottleneck_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (16, 256)
    """Bottleneck sizes of further Houlsby adapters, beside the teacher's own size."""

    lora: LoraConfig = LoraConfig()
    """Rank and scale of LoRA."""

    lora_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of LoRA; adapters take `finetune.learning_rate`."""

    full_learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of full fine-tuning."""
