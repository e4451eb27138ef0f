import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from models.teacher import is_head_parameter
from pipeline.checkpoints.weights import load_model
from pipeline.config import LoraConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.training import BaselineFacts
from pipeline.stages.finetune_baseline import (
    BaselineSettings,
    finetune_baseline,
    insert_lora,
    load_unmerged_lora,
)
from pipeline.store.step import step

TRAINING = TrainingConfig(
    epochs=1, batch_size=16, learning_rate=1e-2, evaluations_per_epoch=1, precision="fp32"
)
LORA = LoraConfig(rank=4, alpha=8)


@pytest.fixture(scope="module")
def trained(tiny_store, tiny_data, tiny_head_only, tiny_context):
    """``trained(method)``: a finished stage."""

    def trained(method):
        settings = BaselineSettings(
            context=tiny_context,
            training=TRAINING,
            method=method,
            lora=LORA if method == "lora" else None,
        )
        return tiny_store.ensure(
            step(
                "finetune-baseline",
                finetune_baseline,
                tiny_data,
                tiny_head_only,
                settings=settings,
                facts=BaselineFacts,
            )
        )

    return trained


def test_full_fine_tuning_trains_every_parameter(trained, tiny_backbone, tiny_data):
    facts = trained("full").facts
    before = load_model(tiny_backbone, OBJECTIVE, labels=tiny_data.facts.labels, seed=0)
    after = AutoModelForSequenceClassification.from_pretrained(trained("full").folder)

    assert facts.trainable_parameters == facts.total_parameters
    layer = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(after.get_parameter(layer), before.get_parameter(layer))


def test_lora_trains_low_rank_changes_and_the_head(trained, tiny_backbone, tiny_data):
    facts = trained("lora").facts
    model = load_model(tiny_backbone, OBJECTIVE, labels=tiny_data.facts.labels, seed=0)
    head = sum(p.numel() for n, p in model.named_parameters() if is_head_parameter(model, n))

    # Query and value of two layers, each with two matrices of rank 4 beside 32 x 32.
    assert facts.trainable_parameters == head + 2 * 2 * 2 * 4 * 32
    assert facts.total_parameters == sum(p.numel() for p in model.parameters())


def test_merged_lora_is_a_stock_model_with_the_unmerged_ones_logits(
    trained, tiny_context, tiny_data, token_batch
):
    folder = trained("lora").folder
    labels = tiny_data.facts.labels
    merged = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    unmerged = load_unmerged_lora(tiny_context, folder, LORA, labels=labels)
    plain = load_model(tiny_context.backbone, OBJECTIVE, labels=labels, seed=0)
    batch = token_batch(plain, (5, 9))

    with torch.no_grad():
        torch.testing.assert_close(merged(**batch).logits, unmerged(**batch).logits)
    assert set(merged.state_dict()) == set(plain.state_dict())
    assert all(tensor.any() for tensor in load_file(folder / "lora.safetensors").values())
    assert any("lora_A" in name for name, _ in unmerged.named_parameters())


def test_new_lora_changes_nothing(tiny_classifier, token_batch):
    model = tiny_classifier("bert")
    batch = token_batch(model, (5, 9))
    before = model(**batch).logits

    insert_lora(model, LORA)

    assert torch.equal(model(**batch).logits, before)


def test_architecture_without_named_matrices_is_refused(tiny_classifier):
    model = tiny_classifier("bert")
    model.config.model_type = "unheard-of"

    with pytest.raises(InputError, match=r"PEFT names no matrices.*unheard-of.*compare\.methods"):
        insert_lora(model, LORA)
