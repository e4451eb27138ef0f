import pytest
import torch

from models.adapters.hooks import insert_adapters, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.table import architecture_of
from models.teacher import (
    backbone_digest,
    count_parameters,
    freeze_backbone,
    is_head_parameter,
    load_trained_tensors,
    trained_tensors,
)

UP = "bert.encoder.layer.0.output.dense.adapter.adapters.task.up.bias"


@pytest.fixture
def teacher(tiny_classifier):
    model = tiny_classifier("bert")
    insert_adapters(
        model.bert, architecture_of("bert"), settings_of(kind="houlsby", bottleneck_size=4)
    )
    freeze_backbone(model)
    return model


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("bert", {"bert.pooler.dense", "classifier"}),
        ("roberta", {"classifier.dense", "classifier.out_proj"}),
        ("xlm-roberta", {"classifier.dense", "classifier.out_proj"}),
        ("electra", {"classifier.dense", "classifier.out_proj"}),
        ("mpnet", {"classifier.dense", "classifier.out_proj"}),
        ("distilbert", {"pre_classifier", "classifier"}),
    ],
)
def test_head_is_what_stands_outside_the_backbone_and_the_pooler(tiny_classifier, model_type, head):
    model = tiny_classifier(model_type)

    found = {n for n, _ in model.named_parameters() if is_head_parameter(model, n)}

    assert found == {f"{module}.{kind}" for module in head for kind in ("weight", "bias")}


def test_counts_by_hand(teacher):
    count = count_parameters(teacher)

    # 4 adapters of down 32*4 + 4 and up 4*32 + 32; pooler 32*32 + 32, classifier 32*3 + 3.
    assert count.adapter == 4 * (132 + 160)
    assert count.head == 1056 + 99
    assert count.trainable == count.adapter + count.head
    assert count.total == sum(p.numel() for p in teacher.parameters())
    assert count.trainable_percent == pytest.approx(100 * count.trainable / count.total)
    assert len(count.trainable_names) == 4 * 4 + 4


def test_without_adapters_only_the_head_trains(tiny_classifier):
    model = tiny_classifier("bert")

    freeze_backbone(model)

    count = count_parameters(model)
    assert (count.adapter, count.trainable) == (0, count.head)


def test_trained_tensors_make_an_equal_teacher_of_the_same_backbone(teacher, tiny_classifier):
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    other = tiny_classifier("bert")
    insert_adapters(
        other.bert, architecture_of("bert"), settings_of(kind="houlsby", bottleneck_size=4)
    )

    load_trained_tensors(other, trained_tensors(teacher))

    expected = teacher.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in other.state_dict().items())


def test_trained_tensors_are_adapters_and_head_alone(teacher):
    names = set(trained_tensors(teacher))

    assert names == set(count_parameters(teacher).trainable_names)


def test_all_wrong_tensors_are_reported_and_none_is_set(teacher):
    tensors = {name: t + 1 for name, t in trained_tensors(teacher).items()}
    del tensors["classifier.bias"]
    tensors["stranger"] = torch.zeros(1)
    tensors[UP] = torch.zeros(5)
    before = {name: t.clone() for name, t in teacher.state_dict().items()}

    with pytest.raises(ValueError, match="not the tensors") as caught:
        load_trained_tensors(teacher, tensors)

    message = str(caught.value)
    assert "missing classifier.bias" in message
    assert "unknown stranger" in message
    assert f"{UP} is (5,), expected (32,)" in message
    assert all(torch.equal(t, before[name]) for name, t in teacher.state_dict().items())


def test_digest_sees_the_smallest_change_of_the_backbone(teacher):
    before = backbone_digest(teacher)
    weight = teacher.bert.encoder.layer[1].output.dense.weight

    with torch.no_grad():
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(torch.inf))

    assert backbone_digest(teacher) != before


def test_digest_ignores_adapters_and_head(teacher, tiny_classifier):
    before = backbone_digest(teacher)

    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if is_adapter_parameter(name) or is_head_parameter(teacher, name):
                parameter.add_(1)

    assert backbone_digest(teacher) == before == backbone_digest(tiny_classifier("bert"))
