import itertools
import random

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pipeline.errors import InputError
from pipeline.graphs.structure import canonical_hash, describe_graph, load_graph, vocabulary_size


def copy_of(model):
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def renamed(model, seed):
    """Return the model with another name for everything but its inputs."""
    copy, rng = copy_of(model), random.Random(seed)
    kept = {each.name for each in copy.graph.input}
    names = {name: name for name in kept}

    def new(name):
        return names.setdefault(name, f"v{rng.getrandbits(64)}") if name else name

    for tensor in copy.graph.initializer:
        tensor.name = new(tensor.name)
    for node in copy.graph.node:
        node.name = new(f"node {node.name}{node.output[0]}")
        node.doc_string = "a note"
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
    for each in copy.graph.output:
        each.name = new(each.name)
    return copy


def reordered(model, seed):
    """Return the model with its nodes in another order that is topological too."""
    copy, rng = copy_of(model), random.Random(seed)
    waiting, made, order = list(copy.graph.node), set(), []
    produced = {name for node in waiting for name in node.output}
    while waiting:
        ready = [n for n in waiting if all(i in made or i not in produced for i in n.input)]
        node = rng.choice(ready)
        waiting = [each for each in waiting if each is not node]
        order.append(node)
        made.update(node.output)
    order = [copy_of_node(node) for node in order]
    del copy.graph.node[:]
    copy.graph.node.extend(order)
    weights = list(copy.graph.initializer)
    rng.shuffle(weights)
    weights = [copy_of_tensor(tensor) for tensor in weights]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(weights)
    return copy


def copy_of_node(node):
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def copy_of_tensor(tensor):
    copy = TensorProto()
    copy.CopyFrom(tensor)
    return copy


def with_two_branches(graph):
    """Return a model in which nodes may stand in several orders: a branch beside its layers."""
    model = graph(layers=3)
    model.graph.node.insert(1, helper.make_node("Shape", ["input_ids"], ["shape"]))
    model.graph.node.append(helper.make_node("Neg", ["shape"], ["negated"]))
    model.graph.output.append(helper.make_tensor_value_info("negated", TensorProto.INT64, [2]))
    return model


def saved(model, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("seed", range(10))
def test_names_do_not_matter(graph, seed):
    assert canonical_hash(renamed(graph(adapters=1), seed)) == canonical_hash(graph(adapters=1))


@pytest.mark.parametrize("seed", range(10))
def test_order_of_independent_nodes_does_not_matter(graph, seed):
    model = with_two_branches(graph)

    moved = reordered(model, seed)

    assert canonical_hash(moved) == canonical_hash(model)
    onnx.checker.check_model(moved)


@pytest.mark.parametrize("seed", range(1, 6))
def test_weights_do_not_matter(graph, seed):
    assert canonical_hash(graph(seed=seed)) == canonical_hash(graph())


SHAPES = [
    {"layers": 2},
    {"layers": 3},
    {"hidden_size": 9},
    {"vocab_size": 21},
    {"adapters": 1},
    {"adapters": 2},
    {"adapters": 1, "bottleneck_size": 5},
    {"inputs": ("input_ids", "attention_mask")},
]


@pytest.mark.parametrize(("one", "other"), itertools.combinations(SHAPES, 2))
def test_every_other_shape_has_another_hash(graph, one, other):
    assert canonical_hash(graph(**one)) != canonical_hash(graph(**other))


def one_more_node(model):
    model.graph.node.append(helper.make_node("Neg", ["mean"], ["unused"]))


def same_node_again(model):
    twin = copy_of_node(model.graph.node[1])
    twin.output[0] = "again"
    model.graph.node.append(twin)


def other_axis(model):
    (axes,) = [each for each in model.graph.initializer if each.name == "axes"]
    axes.CopyFrom(numpy_helper.from_array(np.array([2]), "axes"))


def other_attribute(model):
    (mean,) = [node for node in model.graph.node if node.op_type == "ReduceMean"]
    mean.attribute[0].i = 1


def other_operator(model):
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Gelu"


def other_wiring(model):
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    products[1].input[0] = products[0].input[0]


def other_type(model):
    for each in model.graph.input:
        each.type.tensor_type.elem_type = TensorProto.INT32


def other_opset(model):
    model.opset_import[0].version = 21


@pytest.mark.parametrize(
    "change",
    [
        one_more_node,
        same_node_again,
        other_axis,
        other_attribute,
        other_operator,
        other_wiring,
        other_type,
        other_opset,
    ],
)
def test_every_other_computation_has_another_hash(graph, change):
    model = graph()

    change(model)

    assert canonical_hash(model) != canonical_hash(graph())


def test_constant_node_counts_as_an_initializer(graph):
    model = graph()
    (axes,) = [each for each in model.graph.initializer if each.name == "axes"]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["axes"], value=axes))
    model.graph.initializer.remove(axes)

    assert canonical_hash(model) == canonical_hash(graph())
    model.graph.node[0].attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([2]), "axes"))
    assert canonical_hash(model) != canonical_hash(graph())


def test_weights_that_are_kept_once_do_not_matter(graph):
    # Exporters keep equal weights, such as biases that are zero, only once.
    model = graph()
    for node in model.graph.node:
        node.input[:] = [name.replace("layer.1.bias", "layer.0.bias") for name in node.input]
    (bias,) = [each for each in model.graph.initializer if each.name == "layer.1.bias"]
    model.graph.initializer.remove(bias)

    assert canonical_hash(model) == canonical_hash(graph())


def test_subgraphs_count(graph):
    def branch(operator):
        node = helper.make_node(operator, ["mean"], [f"{operator} of mean"])
        value = helper.make_tensor_value_info(f"{operator} of mean", TensorProto.FLOAT, None)
        return helper.make_graph([node], operator, [], [value])

    def model(operator, seed=0):
        found = graph(seed=seed)
        found.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
        found.graph.node.append(
            helper.make_node(
                "If",
                ["always"],
                ["chosen"],
                then_branch=branch("Neg"),
                else_branch=branch(operator),
            )
        )
        return found

    assert canonical_hash(model("Abs")) == canonical_hash(model("Abs", seed=1))
    assert canonical_hash(model("Abs")) != canonical_hash(model("Exp"))


def test_numbers_of_a_graph_by_hand(graph, tmp_path):
    path = saved(graph(layers=2, adapters=1), tmp_path)

    found = describe_graph(path, batch=3, length=5)

    # Embeddings 20 x 8, two layers 8 x 8 + 8, an adapter 8 x 4 + 4 + 4 x 8 + 8, a head 8 x 2 + 2.
    assert found.parameters == 160 + 2 * 72 + 76 + 18
    # A token costs two layers and an adapter, a text the head.
    assert found.multiply_adds == 3 * 5 * (2 * 64 + 2 * 32) + 3 * 16
    assert found.operators == {"Add": 6, "Gather": 1, "MatMul": 5, "ReduceMean": 1, "Relu": 2}
    assert found.size_bytes == path.stat().st_size
    assert found.adapter_traces == (
        "layer.0.adapter.down.bias",
        "layer.0.adapter.down.weight",
        "layer.0.adapter.up.bias",
        "layer.0.adapter.up.weight",
    )


def test_plain_graph_has_no_trace_of_an_adapter(graph, tmp_path):
    assert describe_graph(saved(graph(), tmp_path)).adapter_traces == ()


def test_weights_beside_the_file_count(graph, tmp_path):
    whole = describe_graph(saved(graph(), tmp_path))
    apart = tmp_path / "apart.onnx"
    onnx.save(graph(), apart, save_as_external_data=True, location="apart.data", size_threshold=128)

    found = describe_graph(apart)

    assert found.hash == whole.hash
    assert found.parameters == whole.parameters
    sizes = [(tmp_path / name).stat().st_size for name in ("apart.onnx", "apart.data")]
    assert found.size_bytes == sum(sizes)


def test_weights_that_are_gone_are_named(graph, tmp_path):
    path = tmp_path / "apart.onnx"
    onnx.save(graph(), path, save_as_external_data=True, location="apart.data", size_threshold=128)
    (tmp_path / "apart.data").unlink()

    with pytest.raises(InputError, match=r"apart\.data, which is not a file beside it"):
        describe_graph(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 100])
def test_file_that_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(InputError, match="is not an ONNX file"):
        load_graph(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_graph(tmp_path / "model.onnx")


@pytest.mark.parametrize("inputs", [("pixels",), ("input_ids", "pixels"), ("attention_mask",)])
def test_graph_with_other_inputs_is_refused(graph, tmp_path, inputs):
    with pytest.raises(InputError, match=f"found {', '.join(inputs)}"):
        load_graph(saved(graph(inputs=inputs), tmp_path))


def test_vocabulary_is_the_rows_of_the_embeddings(graph):
    model = graph(vocab_size=33)

    assert vocabulary_size(model) == 33
    assert vocabulary_size(renamed(model, 0)) == 33
