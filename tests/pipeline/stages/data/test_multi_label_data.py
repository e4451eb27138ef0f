import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError

NAMES = ("joy", "anger", "fear")
SETS = [["joy"], ["anger", "fear"], [], ["fear", "joy"], ["anger"]]
ROWS = [(f"text {number}", SETS[number % 5]) for number in range(60)]


def rows_of(splits):
    """Return {text: names of its labels} of all splits."""
    return {
        text: [name for name, flag in zip(NAMES, flags, strict=True) if flag]
        for split in splits.values()
        for (text,), flags in zip(split.texts, split.labels.tolist(), strict=True)
    }


def jsonl(path, rows=ROWS):
    lines = [json.dumps({"text": text, "label": labels}) for text, labels in rows]
    path.write_text("\n".join(lines))
    return path


def expected(rows=ROWS):
    return {text: sorted(labels, key=NAMES.index) for text, labels in rows}


@pytest.fixture
def prepare_sets(prepare):
    """``prepare_sets(path, **config)``: facts and splits of a multi-label task."""

    def prepare_sets(path, **config):
        return prepare(path, task="multi-label", **{"labels": NAMES} | config)

    return prepare_sets


def test_lists_of_a_jsonl_file_are_sets_of_labels(prepare_sets, tmp_path):
    facts, splits = prepare_sets(jsonl(tmp_path / "train.jsonl"))

    assert rows_of(splits) == expected()
    assert facts.labels == NAMES
    assert sum(counts["fear"] for counts in facts.label_counts.values()) == 24


def test_lists_of_a_parquet_file_are_sets_of_labels(prepare_sets, tmp_path):
    texts, labels = zip(*ROWS, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "train.parquet")

    _, splits = prepare_sets(tmp_path / "train.parquet")

    assert rows_of(splits) == expected()


def test_indices_of_a_data_set_are_matched_by_its_own_names(prepare_sets, tmp_path):
    own = ["fear", "anger", "joy"]
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.Sequence(datasets.ClassLabel(names=own)),
        }
    )
    content = {
        "text": [text for text, _ in ROWS],
        "label": [[own.index(name) for name in labels] for _, labels in ROWS],
    }
    path = tmp_path / "train.parquet"
    datasets.Dataset.from_dict(content, features=features).to_parquet(path)

    _, splits = prepare_sets(path)

    assert rows_of(splits) == expected()


def test_delimited_labels_of_a_csv_file_leave_out_texts_without_any(prepare_sets, write):
    rows = [(text, "|".join(labels)) for text, labels in ROWS]

    facts, splits = prepare_sets(write(rows))

    assert rows_of(splits) == {text: labels for text, labels in expected().items() if labels}
    assert facts.dropped_empty == 12


def test_columns_of_0_and_1_are_sets_of_labels(prepare_sets, write):
    rows = [(text, *(str(int(name in labels)) for name in NAMES)) for text, labels in ROWS]
    path = write(rows, header="text,joy,anger,fear")

    facts, splits = prepare_sets(path, label=NAMES, labels=())

    assert rows_of(splits) == expected()
    assert facts.labels == NAMES


def test_test_file_without_one_of_the_columns_is_refused(prepare_sets, write):
    train = write([("a", "1", "0", "0")] * 9, header="text,joy,anger,fear")
    test = write([("b", "1", "0")], name="test.csv", header="text,joy,anger")

    with pytest.raises(InputError, match=r"test\.csv has no column 'fear'"):
        prepare_sets(train, test=str(test), label=NAMES, labels=())


def test_label_that_only_the_test_file_has_is_refused_with_its_place(prepare_sets, tmp_path):
    train = jsonl(tmp_path / "train.jsonl")
    test = jsonl(tmp_path / "test.jsonl", [("a", ["joy"]), ("b", ["love", "joy"])])

    with pytest.raises(InputError, match=r"'love' in .*test\.jsonl, line 2"):
        prepare_sets(train, test=str(test))


def test_list_with_a_gap_is_refused_with_its_place(prepare_sets, tmp_path):
    path = jsonl(tmp_path / "train.jsonl", [("a", ["joy"]), ("b", ["joy", None])])

    with pytest.raises(InputError, match="holds a list with a gap in line 2"):
        prepare_sets(path)


def test_lists_are_no_labels_of_a_classification(prepare, tmp_path):
    with pytest.raises(InputError, match=r"holds lists, expected one value for each row"):
        prepare(jsonl(tmp_path / "train.jsonl"), labels=NAMES)


def test_rare_label_is_drawn_in_proportion(prepare_sets, tmp_path):
    rows = [(f"rare {n}", ["joy", "fear"]) for n in range(8)]
    rows += [(f"text {n}", ["joy", "anger"][n % 2 :]) for n in range(52)]
    path = jsonl(tmp_path / "train.jsonl", rows)

    facts, _ = prepare_sets(path, test_size=15, validation_size=15)

    counts = {split: counts["fear"] for split, counts in facts.label_counts.items()}
    assert counts == {"test": 2, "validation": 2, "train": 4}
