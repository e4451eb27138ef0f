import dataclasses

import pytest
import torch
import torch.nn.functional as F

from models.absorption.exact import plan_fold
from models.adapters.composition import Stack
from models.adapters.hooks import adapter_names, add_adapter, set_active, settings_of
from models.adapters.invertible import Coupling, absorb_embeddings, has_invertible, invertible_site
from models.architectures.table import ARCHITECTURES, architecture_of
from models.teacher import count_parameters, freeze_backbone


def add(model, name="task", *, std=None):
    """Hang a Pfeiffer adapter with an invertible one; ``std`` draws the latter's weights."""
    settings = dataclasses.replace(settings_of("pfeiffer", bottleneck_size=8), invertible=2)
    add_adapter(model.base_model, architecture_of(model.config.model_type), name, settings)
    coupling = invertible_site(model).couplings[name]
    if std is not None:
        torch.manual_seed(1)
        for parameter in coupling.parameters():
            parameter.data.normal_(std=std)
    set_active(model.base_model, name)
    return coupling


@torch.no_grad()
def test_each_half_is_moved_by_what_the_other_half_gives():
    coupling = Coupling(8, reduction=2, activation="relu")
    for parameter in coupling.parameters():
        parameter.normal_()
    x = torch.randn(2, 3, 8)

    found = coupling(x)

    def change(part, half):
        units = F.relu(F.linear(half, part.down.weight, part.down.bias))
        return F.linear(units, part.up.weight, part.up.bias)

    first = x[..., :4] + change(coupling.first, x[..., 4:])
    second = x[..., 4:] + change(coupling.second, first)
    torch.testing.assert_close(found, torch.cat([first, second], dim=-1))


@pytest.mark.parametrize("model_type", ARCHITECTURES)
@torch.no_grad()
def test_new_one_changes_nothing_and_a_drawn_one_does(tiny_classifier, token_batch, model_type):
    model = tiny_classifier(model_type)
    batch = token_batch(model, (9, 5))
    plain = model(**batch).logits

    coupling = add(model)
    fresh = model(**batch).logits
    coupling.first.up.weight.normal_()

    assert torch.equal(fresh, plain)
    assert not torch.allclose(model(**batch).logits, plain, atol=1e-3)


def test_exactly_adapters_and_head_train(tiny_classifier, token_batch):
    model = tiny_classifier("bert")
    add(model, std=0.1)
    freeze_backbone(model)

    model(**token_batch(model, (9, 5))).logits.sum().backward()

    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert {n for n in moved if "couplings" in n} == {
        f"bert.embeddings.adapter.couplings.task.{half}.{part}.{kind}"
        for half in ("first", "second")
        for part in ("down", "up")
        for kind in ("weight", "bias")
    }
    assert moved == set(count_parameters(model).trainable_names)


@torch.no_grad()
def test_set_active_switches_it_and_a_composition_uses_the_first_adapters(
    tiny_classifier, token_batch
):
    model = tiny_classifier("bert")
    batch = token_batch(model, (9, 5))
    plain = model(**batch).logits
    add(model, "language", std=0.3)
    language = model(**batch).logits
    add(model, "task")

    set_active(model.base_model, Stack(("language", "task")))
    stacked = model(**batch).logits
    set_active(model.base_model, Stack(("task", "language")))
    other = model(**batch).logits
    set_active(model.base_model, None)

    assert adapter_names(model) == {"language", "task"}
    assert torch.equal(stacked, language)  # a new adapter changes nothing
    assert torch.equal(other, plain)
    assert torch.equal(model(**batch).logits, plain)
    assert not has_invertible(model)


def test_embeddings_of_an_odd_size_are_refused():
    with pytest.raises(ValueError, match="an even size to halve, found 7"):
        Coupling(7, reduction=2, activation="relu")


def test_it_has_no_exact_fold(tiny_classifier):
    model = tiny_classifier("bert")
    add(model)

    plan = plan_fold(model, architecture_of("bert"))

    assert "An invertible adapter behind the embeddings has no exact fold." in plan.obstacles


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_students_embeddings_take_over_most_of_it(tiny_classifier, model_type):
    teacher, student = (tiny_classifier(model_type) for _ in range(2))
    add(teacher, std=0.2)

    r2 = absorb_embeddings(teacher.base_model, student.base_model, length=16, seed=0)

    ids = torch.randperm(100)[:60].reshape(4, 15)
    given, found, plain = (
        model.base_model.embeddings(input_ids=ids)
        for model in (teacher, student, tiny_classifier(model_type))
    )
    # These tables' positions weigh as much as their words, unlike a trained backbone's.
    assert r2 > 0.5
    assert (found - given).square().sum() < 0.5 * (plain - given).square().sum()


def test_embeddings_of_words_are_left_where_there_is_nothing_to_take_over(tiny_classifier):
    teacher, student = (tiny_classifier("bert") for _ in range(2))
    add(teacher)
    before = student.bert.embeddings.word_embeddings.weight.clone()

    r2 = absorb_embeddings(teacher.base_model, student.base_model, length=16, seed=0)

    assert r2 == 0
    assert torch.equal(student.bert.embeddings.word_embeddings.weight, before)
