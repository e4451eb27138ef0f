"""Trainings by gradient descent."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class HeadOnlyConfig(Section):
    """The baseline: a head trained on what the frozen backbone makes of each text, once."""

    texts: int | None = Field(default=None, ge=1)
    """At most this many training texts; all of them by default."""

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
    """Part of the steps over which the learning rate rises."""

    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this L2 norm."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the transformer while training; the checkpoint's own by default."""

    evaluations_per_epoch: int = Field(default=2, ge=1)
    """Validations, and checkpoints, per epoch."""

    patience: int = Field(default=4, ge=1)
    """Stop after this many validations without improvement."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto`` takes bf16 where the hardware has it and a trial step is faster with it."""


class FuseConfig(TrainingConfig):
    """Training of what composes adapters that there are already, and of the head."""

    value_penalty: float = Field(default=0.01, ge=0)
    """Weight of the squared distance of AdapterFusion's value projections from the identity."""


class DistillConfig(TrainingConfig):
    """KL distillation of the student from the teacher's soft targets."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate: an absorbed student wants 1e-5 or less, a plain backbone about 1e-4."""

    dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """Dropout of the student while training; off by default, as its targets are exact."""

    temperature: float = Field(default=2.0, gt=0)
    """Both distributions are softened by it."""

    alpha: float = Field(default=1.0, ge=0, le=1)
    """Weight of the soft term; 1 - alpha is the weight of the labels' cross-entropy. Below 1, texts
    of ``data.unlabelled`` are left out here: they have no labels."""

    texts: int | None = Field(default=None, ge=1)
    """At most this many training texts, and then unlabelled ones; all of them by default."""

    keep: Literal["closest", "best"] = "closest"
    """Which weights of the training to keep, its start among them: those closest to the teacher, or
    those with the best main metric on the validation split. ``best`` wants labels in the loss
    (``alpha`` below 1)."""
