import json

import pytest

from models.adapters.composition import Average, Fuse, Stack, Weighted
from pipeline.checkpoints.adapterhub.setup import read_setup, setup_tree
from pipeline.errors import InputError

COMPOSITIONS = [
    Stack(("a", "b")),
    Fuse(("a", "b")),
    Average(("a", "b"), (0.25, 0.75)),
    Stack((Fuse(("a", "b")), "c")),
    Average((Stack(("a", "b")), "c"), (0.5, 0.5)),
]


def write(folder, tree, head="a"):
    folder.mkdir(exist_ok=True)
    setup = {"adapter_setup": tree, "head_setup": head, "version": "adapters.1.3.0"}
    (folder / "adapter_setup.json").write_text(json.dumps(setup))
    return folder


@pytest.mark.parametrize("composition", COMPOSITIONS, ids=repr)
def test_composition_is_read_as_it_was_written(tmp_path, composition):
    setup = read_setup(write(tmp_path, setup_tree(composition)))

    assert setup.composition == composition
    assert setup.head == tmp_path / "a"
    assert setup.adapters["a"] == tmp_path / "a"


def test_fusions_have_folders_named_by_what_they_fuse(tmp_path):
    setup = read_setup(write(tmp_path, setup_tree(Stack((Fuse(("a", "b")), "c")))))

    assert setup.fusions == (tmp_path / "a,b",)


def test_stack_of_one_is_that_adapter(tmp_path):
    tree = {"type": "Stack", "children": [{"type": "single", "children": ["a"]}]}

    assert read_setup(write(tmp_path, tree)).composition == "a"


@pytest.mark.parametrize(
    "composition",
    [Weighted(("a", "b")), Average((Fuse(("a", "b")), "c")), Stack((Stack(("a", "b")), "c"))],
    ids=repr,
)
def test_what_the_format_cannot_express_is_refused(composition):
    with pytest.raises(InputError, match="AdapterHub's format has no"):
        setup_tree(composition)


SINGLES = [{"type": "single", "children": [name]} for name in ("a", "b")]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"type": "Parallel", "children": SINGLES}, "of the type 'Parallel'"),
        (
            {"type": "Fuse", "children": [{"type": "Stack", "children": SINGLES}, SINGLES[0]]},
            "Fuse",
        ),
        ({"type": "single", "children": ["../../etc"]}, "expected the name of an adapter"),
        ({"type": "Stack"}, "expected a type and children"),
        (None, "adapter_setup: Input should be an object"),
    ],
)
def test_setup_that_is_not_supported_is_refused(tmp_path, tree, message):
    with pytest.raises(InputError, match=message):
        read_setup(write(tmp_path, tree))


def average(*weights):
    return {"type": "Average", "children": SINGLES, "kwargs": {"weights": list(weights)}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((0.25, 0.75), (0.25, 0.75)),
        ((3.0, 1.0), (0.75, 0.25)),
        ((1, 1), (0.5, 0.5)),
        ((1.5, -0.5), (1.5, -0.5)),
        ((), ()),
    ],
)
def test_weights_of_an_average_sum_to_one_as_the_library_loads_them(tmp_path, given, expected):
    found = read_setup(write(tmp_path, average(*given))).composition

    assert found == Average(("a", "b"), expected)


def test_weights_that_are_not_to_be_normalised_stay(tmp_path):
    tree = average(3.0, 1.0)
    tree["kwargs"]["normalize_weights"] = False

    assert read_setup(write(tmp_path, tree)).composition == Average(("a", "b"), (3.0, 1.0))


@pytest.mark.parametrize(
    "given", [(1.0,), (1.0, -1.0), (0.0, 0.0), ("1", "2"), (float("nan"), 1.0), (1, 2, 3)]
)
def test_weights_that_do_not_fit_are_refused(tmp_path, given):
    with pytest.raises(InputError, match="expected 2 weights for an average of 2"):
        read_setup(write(tmp_path, average(*given)))


def test_several_heads_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected one classification head.*\['a', 'b'\]"):
        read_setup(write(tmp_path, setup_tree(Stack(("a", "b"))), head=["a", "b"]))
