import pytest
import torch
from torch import nn

from models.adapters.hooks import insert_adapters, settings_of
from models.architectures.table import ARCHITECTURES, architecture_of
from models.student import adapter_traces, keep_layers, set_dropout, take_head
from models.teacher import is_head_parameter, trained_tensors


@pytest.fixture
def teacher(tiny_classifier):
    model = tiny_classifier("bert", seed=1)
    insert_adapters(
        model.bert, architecture_of("bert"), settings_of(kind="houlsby", bottleneck_size=4)
    )
    return model


LAYERED = sorted(set(ARCHITECTURES) - {"albert"})


@pytest.mark.parametrize("model_type", LAYERED)
def test_kept_layers_are_the_chosen_ones_in_order(tiny_classifier, token_batch, model_type):
    model = tiny_classifier(model_type, num_hidden_layers=4)
    architecture = architecture_of(model_type)
    first, _, third, _ = architecture.layers(model.base_model)

    keep_layers(model, architecture, (0, 2))

    assert list(architecture.layers(model.base_model)) == [first, third]
    assert model(**token_batch(model, (6, 4))).logits.shape == (2, 3)


@pytest.mark.parametrize("model_type", LAYERED)
def test_reduced_model_survives_saving(tiny_classifier, token_batch, tmp_path, model_type):
    model = tiny_classifier(model_type, num_hidden_layers=4)
    keep_layers(model, architecture_of(model_type), (0, 3))
    batch = token_batch(model, (6, 4))

    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()

    assert loaded.config.num_hidden_layers == 2
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize(
    ("model_type", "layers", "reason"),
    [("albert", (0,), "runs one layer several times"), ("modernbert", (1,), "Begin with 0")],
)
def test_layer_that_can_not_be_left_out_is_told(tiny_classifier, model_type, layers, reason):
    model = tiny_classifier(model_type)

    with pytest.raises(ValueError, match=reason):
        keep_layers(model, architecture_of(model_type), layers)


@pytest.mark.parametrize("layers", [(0, 2), (-1,)])
def test_layer_that_does_not_exist_is_refused(tiny_classifier, layers):
    model = tiny_classifier("bert")

    with pytest.raises(ValueError, match=rf"layers 0 to 1, found \[{layers[-1]}\]"):
        keep_layers(model, architecture_of("bert"), layers)

    assert model.config.num_hidden_layers == 2


def test_student_takes_the_teachers_head_and_nothing_else(teacher, tiny_classifier):
    student = tiny_classifier("bert", seed=2)
    before = {name: p.clone() for name, p in student.named_parameters()}

    taken = take_head(student, trained_tensors(teacher))

    assert taken
    for name, parameter in student.named_parameters():
        is_head = is_head_parameter(student, name)
        expected = teacher.get_parameter(name) if is_head else before[name]
        assert torch.equal(parameter, expected), name


@pytest.mark.parametrize(("model_type", "settings"), [("bert", {"num_labels": 2}), ("roberta", {})])
def test_head_of_another_shape_is_left_alone(teacher, tiny_classifier, model_type, settings):
    student = tiny_classifier(model_type, **settings)
    before = {name: p.clone() for name, p in student.named_parameters()}

    taken = take_head(student, trained_tensors(teacher))

    assert not taken
    assert all(torch.equal(p, before[name]) for name, p in student.named_parameters())


def test_stock_model_has_no_adapter_traces(tiny_classifier):
    assert adapter_traces(tiny_classifier("bert")) == []


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_traces_name_every_adapter_tensor_and_hooked_module(tiny_classifier, model_type, kind):
    model = tiny_classifier(model_type)
    stock = set(model.state_dict())
    architecture = architecture_of(model_type)
    insert_adapters(model.base_model, architecture, settings_of(kind=kind, bottleneck_size=4))

    traces = set(adapter_traces(model))

    names = {module: name for name, module in model.named_modules()}
    sites = {name for module, name in names.items() if hasattr(module, "adapter")}
    halves = [
        (layer, position)
        for layer in architecture.layers(model.base_model)
        for position in (("attention", "ffn") if kind == "houlsby" else ("ffn",))
    ]
    sources = {names[architecture.input_source(*half)] for half in halves}
    if architecture.norm_first:
        sources |= {names[architecture.norm_before(*half)] for half in halves}
    assert traces == (set(model.state_dict()) - stock) | sites | sources


def test_a_hook_alone_is_a_trace(tiny_classifier):
    model = tiny_classifier("bert")

    model.bert.pooler.register_forward_hook(lambda *_: None)

    assert adapter_traces(model) == ["bert.pooler"]


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_dropout_is_set_everywhere(tiny_classifier, token_batch, model_type):
    settings = {"attention_dropout": 0.5} if model_type == "llama" else {}
    model = tiny_classifier(model_type, **settings)
    batch = token_batch(model, (6, 4))

    set_dropout(model, 0.0)

    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} <= {0.0}
    expected = model.eval()(**batch).logits
    torch.testing.assert_close(model.train()(**batch).logits, expected)
