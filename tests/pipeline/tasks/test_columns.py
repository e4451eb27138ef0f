"""Which columns of a table a task is trained on: certain, or asked for by name."""

import pytest

from pipeline.tasks.all_tasks import TASKS
from pipeline.tasks.columns import Column, Given, UnfitError
from pipeline.texts.cells import Number

TEXTS = [f"text number {number} of the table" for number in range(40)]
CLASSES = ["good", "bad"] * 20
STARS = [str(1 + number % 5) for number in range(40)]
FLAGS = ["0", "1", "1", "0"] * 10
RATINGS = [f"{number / 7:.2f}" for number in range(40)]
IDS = [str(number) for number in range(40)]
SETS = [["joy"], ["joy", "anger"], [], ["anger"]] * 10
WORDS = [["Ada", "ran"], ["home", "alone"]] * 20
TAGS = [["B-person", "O"], ["O", "O"]] * 20


def propose(task, columns, *, text=(), label=(), own=None):
    named = tuple(
        Column(name=name, cells=cells, own_names=(own or {}).get(name))
        for name, cells in columns.items()
    )
    return TASKS[task].labels.propose(named, Given(text=text, label=label))


@pytest.mark.parametrize(
    ("task", "columns", "text", "label", "labels"),
    [
        ("classification", {"id": IDS, "t": TEXTS, "c": CLASSES}, "t", "c", ("bad", "good")),
        ("classification", {"t": TEXTS, "c": STARS}, "t", "c", ("1", "2", "3", "4", "5")),
        ("classification", {"t": TEXTS, "c": RATINGS, "flag": FLAGS}, "t", "flag", ("0", "1")),
        ("classification", {"text": TEXTS, "label": CLASSES, "s": FLAGS}, "text", "label", None),
        ("regression", {"id": IDS, "t": TEXTS, "r": RATINGS}, "t", "r", ()),
        ("regression", {"t": TEXTS, "c": CLASSES, "r": STARS}, "t", "r", ()),
        ("multi-label", {"t": TEXTS, "s": SETS}, "t", "s", ("anger", "joy")),
        ("multi-label", {"t": TEXTS, "s": [",".join(s) for s in SETS]}, "t", "s", ("anger", "joy")),
        ("multi-label", {"t": TEXTS, "s": [str(s) for s in SETS]}, "t", "s", ("anger", "joy")),
        ("token-classification", {"w": WORDS, "g": TAGS, "p": WORDS[:1] * 40}, None, None, None),
        ("token-classification", {"id": IDS, "w": WORDS, "g": TAGS}, "w", "g", ("person",)),
    ],
)
def test_what_fits_alone_is_taken(task, columns, text, label, labels):
    if text is None:
        with pytest.raises(UnfitError, match=r"2 columns may be the text: 'w', 'p'.*--text"):
            propose(task, columns)
        return

    found = propose(task, columns)

    assert (found.text, found.label) == ((text,), (label,))
    assert labels is None or found.labels == labels
    assert len(found.assumed) == 2


def test_pairs_are_named_or_have_the_usual_names():
    columns = {"text": TEXTS, "text_b": TEXTS[::-1], "c": CLASSES}
    other = {"first": TEXTS, "second": TEXTS[::-1], "c": CLASSES}

    assert propose("classification", columns).text == ("text", "text_b")
    assert propose("classification", other, text=("second", "first")).text == ("second", "first")
    with pytest.raises(UnfitError, match=r"2 columns may be the text.*twice for a pair"):
        propose("classification", other)


def test_columns_of_flags_name_the_labels():
    found = propose("multi-label", {"t": TEXTS, "joy": FLAGS, "anger": FLAGS[::-1]})

    assert (found.label, found.labels) == (("joy", "anger"), ())


def test_names_of_a_data_set_are_the_labels_in_their_order():
    indices = [Number(spelled=str(number % 2)) for number in range(40)]
    tags = [[1, 0]] * 40

    found = propose("classification", {"t": TEXTS, "c": indices}, own={"c": ("pos", "neg")})
    tagged = propose(
        "token-classification", {"w": WORDS, "g": tags}, own={"g": ("O", "B-x", "I-x")}
    )

    assert found.labels == ("pos", "neg")
    assert tagged.labels == ("O", "B-x", "I-x")


@pytest.mark.parametrize(
    ("task", "columns", "given", "message"),
    [
        ("classification", {"t": TEXTS}, {}, r"No column looks like the label .*--label: one of n"),
        ("classification", {"c": CLASSES, "id": IDS}, {}, "No column looks like the text"),
        ("classification", {"t": TEXTS, "a": CLASSES, "b": FLAGS}, {}, "2 columns may be the la"),
        ("classification", {"t": TEXTS, "c": CLASSES}, {"label": ("x",)}, "no such column"),
        ("classification", {"t": TEXTS, "c": CLASSES}, {"text": ("t",) * 3}, "at most 2 text"),
        ("classification", {"t": TEXTS, "i": IDS}, {"label": ("i",)}, "no classes"),
        ("classification", {"t": TEXTS, "c": ["Good", "good"] * 20}, {}, "may be one label"),
        ("classification", {"t": TEXTS, "c": ["good", "nan"] * 20}, {}, "missing one"),
        ("regression", {"t": TEXTS, "c": FLAGS}, {}, "at least three different"),
        ("regression", {"t": TEXTS, "c": CLASSES}, {"label": ("c",)}, "finite numbers"),
        ("multi-label", {"t": TEXTS, "c": CLASSES}, {}, "lists of names"),
        ("multi-label", {"t": TEXTS, "c": CLASSES}, {"label": ("c",)}, "no sets of labels"),
        ("token-classification", {"w": WORDS, "g": [[1, 0]] * 40}, {}, "B-person"),
        ("token-classification", {"w": WORDS, "g": [[1, 0]] * 40}, {"label": ("g",)}, "indices"),
        ("token-classification", {"t": TEXTS, "c": CLASSES}, {}, "lists of words"),
    ],
)
def test_what_is_not_certain_is_asked_for(task, columns, given, message):
    with pytest.raises(UnfitError, match=message):
        propose(task, columns, **given)
