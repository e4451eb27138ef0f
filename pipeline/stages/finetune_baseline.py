"""Stage finetune-baseline: other methods than adapters, trained on the same data for comparison.

The methods are full fine-tuning and LoRA (Hu et al., 2021, https://arxiv.org/abs/2106.09685). LoRA
is PEFT's, on the attention's projections that PEFT names for the architecture. A LoRA model is
written merged, as a stock model. The low-rank matrices are written beside it, so that the unmerged
model can be built again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import peft
import torch
from peft.tuners.lora import LoraLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as LORA_TARGETS
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from models.processes import is_first
from models.student import take_head
from models.teacher import freeze_backbone, is_head_parameter
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.checkpoints.tokenizers import save_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import LoraConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.facts.training import BaselineFacts, TeacherFacts
from pipeline.store.stage import Stage
from pipeline.training.on_labels import prepare_training, train_on_labels
from pipeline.training.ranks import in_processes

LORA_TENSORS = "lora.safetensors"
_LORA = "lora_"
"""Part of the name of every LoRA tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineSettings:
    """Settings that shape a training without adapters, beside data and baseline."""

    context: ModelContext
    training: TrainingConfig
    method: Literal["full", "lora"]
    """Method: ``full`` trains all parameters, ``lora`` low-rank changes and the head."""
    lora: LoraConfig | None
    """Rank and scale of the low-rank changes; None for ``full``."""


@in_processes
def finetune_baseline(
    data: Stage[DataFacts],
    head_from: Stage[TeacherFacts],
    settings: BaselineSettings,
    out: Path,
) -> BaselineFacts:
    """Train a model by a method without adapters, and write it to ``out`` as a stock model.

    Args:
        data: Splits to train and validate on.
        head_from: Baseline, whose head is the start of the model's.
        settings: Backbone, method and settings of the training.
        out: Folder for the model.

    Raises:
        InputError: for an unreadable model, a loss that is not finite, or an architecture without
            matrices that PEFT names.
    """
    setup = prepare_training(data, head_from, settings.context, settings.training)
    model = setup.model
    if settings.lora is not None:
        freeze_backbone(model)
        insert_lora(model, settings.lora)
    outcome = train_on_labels(
        setup,
        settings.training,
        out,
        context=settings.context,
        title={"full": "full fine-tuning", "lora": "LoRA"}[settings.method],
    )
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.eval()
    if settings.lora is not None:
        tensors = {n: p.detach().contiguous() for n, p in model.named_parameters() if _LORA in n}
        if is_first():
            save_file(tensors, out / LORA_TENSORS)
        _merge_lora(model)
    if is_first():
        model.save_pretrained(out)
        save_tokenizer(setup.tokenizer, out)
    return BaselineFacts(
        method=settings.method,
        total_parameters=sum(p.numel() for p in model.parameters()),
        trainable_parameters=trainable,
        outcome=outcome,
    )


def load_unmerged_lora(
    context: ModelContext, folder: Path, lora: LoraConfig, *, labels: tuple[str, ...]
) -> PreTrainedModel:
    """Return the LoRA model of a `finetune_baseline` folder as it was trained, in eval mode."""
    objective = context.task.objective()
    merged = load_model(Checkpoint(folder=folder, digest=""), objective, labels=labels)
    model = load_model(context.backbone, objective, labels=labels)
    head = {n: p for n, p in merged.named_parameters() if is_head_parameter(merged, n)}
    take_head(model, head)
    insert_lora(model, lora)
    tensors = load_file(folder / LORA_TENSORS)
    with torch.no_grad():
        for name, tensor in tensors.items():
            model.get_parameter(name).copy_(tensor)
    return cast(PreTrainedModel, model.eval())


def insert_lora(model: PreTrainedModel, lora: LoraConfig) -> None:
    """Attach low-rank changes, zero at first, to the attention's projections, in place.

    All other parameters keep their ``requires_grad``.

    Raises:
        InputError: where PEFT names no matrices for the architecture.
    """
    model_type = model.config.model_type
    if model_type not in LORA_TARGETS:
        raise InputError(
            f"compare: PEFT names no matrices for LoRA in a {model_type} model. Leave lora out of "
            "compare.methods."
        )
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(LORA_TARGETS[model_type]),
    )
    peft.inject_adapter_in_model(settings, cast(nn.Module, model))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trains or _LORA in name)


def _merge_lora(model: PreTrainedModel) -> None:
    """Replace every layer with a low-rank change by the dense layer that equals it, in place."""
    for name, module in list(cast(nn.Module, model).named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
