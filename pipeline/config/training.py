"""Trainings by gradient descent."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class HeadOnlyConfig(Section):
    """The baseline: a head trained on the features of the frozen backbone."""

    texts: int | None = Field(default=None, ge=1)
    """Most training texts; all by default."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training texts' features."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per step."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""

    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""


class TrainingConfig(Section):
    """One training by gradient descent (AdamW, linear warm-up and decay)."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the training split."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per step and device."""

    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches per optimizer step."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate."""

    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of the steps over which the learning rate rises."""

    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """L2 norm that gradients are clipped to."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout probability of the transformer while training; the checkpoint's own by default."""

    evaluations_per_epoch: int = Field(default=2, ge=1)
    """Validations, and checkpoints, per epoch."""

    patience: int = Field(default=4, ge=1)
    """Validations without improvement after which training stops."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the training. ``auto`` takes bf16 if the hardware has it and a trial is
    faster."""


class FuseConfig(TrainingConfig):
    """Training of the composition of existing adapters, and of a head."""

    value_penalty: float = Field(default=0.01, ge=0)
    """Weight of the squared distance of AdapterFusion's value projections from the identity."""


class DistillConfig(TrainingConfig):
    """KL distillation of the student from the teacher's soft targets."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate: at most 1e-5 for an absorbed student, about 1e-4 for a plain backbone."""

    dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """Dropout probability of the student while training; 0 by default, as its targets are exact."""

    temperature: float = Field(default=2.0, gt=0)
    """Temperature that softens both distributions."""

    alpha: float = Field(default=1.0, ge=0, le=1)
    """Weight of the soft loss; 1 - alpha is the weight of the loss on the labels. Below 1, texts of
    ``data.unlabelled`` are left out, because they have no labels."""

    texts: int | None = Field(default=None, ge=1)
    """Most texts: training texts, then unlabelled ones; all by default."""

    keep: Literal["closest", "best"] = "closest"
    """Weights of the training to keep, its start included. ``closest``: those closest to the
    teacher. ``best``: those with the best main metric on the validation split, which needs labels
    in the loss (``alpha`` below 1)."""
