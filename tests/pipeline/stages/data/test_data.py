import random
from collections import Counter

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SPLITS = ("train", "validation", "test")
ROWS = [(f"text number {n}", "positive" if n % 4 else "negative") for n in range(40)]


def rows_of(split, labels=("negative", "positive")):
    return [(*text, labels[label]) for text, label in zip(split.texts, split.labels, strict=True)]


def test_every_row_lands_in_one_split_with_its_label(write, prepare):
    facts, splits = prepare(write(ROWS), validation_size=6, test_size=0.25)

    assert {name: len(split) for name, split in splits.items()} == facts.sizes
    assert facts.sizes == {"train": 24, "validation": 6, "test": 10}
    assert sorted(row for split in splits.values() for row in rows_of(split)) == sorted(ROWS)


def test_splits_do_not_depend_on_the_order_of_the_rows(write, prepare):
    shuffled = random.Random(0).sample(ROWS, k=len(ROWS))

    facts, splits = prepare(write(ROWS))
    other_facts, other_splits = prepare(write(shuffled, "shuffled.csv"))

    assert other_facts.digest == facts.digest
    assert all(rows_of(other_splits[name]) == rows_of(splits[name]) for name in SPLITS)


def test_given_test_split_does_not_depend_on_the_order_of_its_rows(write, prepare):
    train, test = ROWS[:30], ROWS[30:]

    facts, _ = prepare(write(train), test=str(write(test, "test.csv")))
    other, _ = prepare(write(train), test=str(write(test[::-1], "reversed.csv")))

    assert other.digest == facts.digest


def test_label_of_conflicting_duplicates_does_not_depend_on_the_order_of_the_rows(write, prepare):
    conflicting = [*ROWS, ("text number 1", "negative")]

    facts, _ = prepare(write(conflicting))
    other, _ = prepare(write(conflicting[::-1], "reversed.csv"))

    assert facts.conflicting_labels == other.conflicting_labels == 1
    assert other.digest == facts.digest


def test_splits_depend_on_the_seed(write, prepare):
    path = write(ROWS)

    first, second = prepare(path, seed=0)[0], prepare(path, seed=1)[0]

    assert first.digest != second.digest
    assert first.sizes == second.sizes


def test_digest_sees_a_changed_label(write, prepare):
    text, _ = ROWS[0]

    before, _ = prepare(write(ROWS))
    after, _ = prepare(write([(text, "positive"), *ROWS[1:]]))

    assert before.digest != after.digest


def test_no_text_stands_in_two_splits(write, prepare):
    train = write([*ROWS, *ROWS[:10]])
    validation = write(ROWS[:12], "validation.csv")
    test = write(ROWS[8:16], "test.csv")

    _, splits = prepare(train, validation=str(validation), test=str(test))

    texts = Counter(text for split in splits.values() for text in split.texts)
    assert set(texts.values()) == {1}


def test_texts_of_a_given_test_split_leave_the_others(write, prepare):
    train, test = write(ROWS), write(ROWS[:10], "test.csv")

    facts, splits = prepare(train, test=str(test))

    assert sorted(rows_of(splits["test"])) == sorted(ROWS[:10])
    assert facts.sizes["train"] + facts.sizes["validation"] == 30
    assert facts.dropped_duplicates == 10


def test_duplicates_are_kept_once_and_counted(write, prepare):
    facts, splits = prepare(write([*ROWS, ROWS[3], ROWS[3], ROWS[7]]))

    assert facts.dropped_duplicates == 3
    assert facts.conflicting_labels == 0
    assert sum(len(split) for split in splits.values()) == 40


def test_conflicting_labels_are_counted(write, prepare):
    facts, _ = prepare(write([*ROWS, (ROWS[1][0], "negative"), (ROWS[5][0], "positive")]))

    assert facts.dropped_duplicates == 2
    assert facts.conflicting_labels == 1


def test_space_around_a_text_does_not_make_it_another(write, prepare):
    facts, _ = prepare(write([*ROWS, ("  text number 3 ", "positive")]))

    assert facts.dropped_duplicates == 1


def test_empty_texts_and_labels_are_dropped_and_counted(write, prepare):
    facts, _ = prepare(write([*ROWS, ("", "positive"), ("   ", "negative"), ("unlabelled", "")]))

    assert facts.dropped_empty == 3
    assert sum(facts.sizes.values()) == 40


def test_label_counts_are_by_split_and_name(write, prepare):
    facts, splits = prepare(write(ROWS))

    for name, split in splits.items():
        counts = Counter(label for _, label in rows_of(split))
        assert facts.label_counts[name] == dict(counts)


def test_classes_keep_their_proportions(write, prepare):
    facts, _ = prepare(write(ROWS), test_size=8, validation_size=8)

    # A quarter is negative.
    assert facts.label_counts["test"] == {"negative": 2, "positive": 6}
    assert facts.label_counts["validation"] == {"negative": 2, "positive": 6}
    assert facts.label_counts["train"] == {"negative": 6, "positive": 18}


def test_class_of_one_text_does_not_stop_the_split(write, prepare):
    rows = [*ROWS, ("the only neutral text", "neutral")]

    facts, _ = prepare(write(rows), labels=("negative", "positive", "neutral"))

    assert sum(facts.sizes.values()) == 41


def test_class_of_one_text_is_named_and_the_others_are_split_in_proportion(write, prepare):
    rows = [*ROWS, ("the only neutral text", "neutral")]

    facts, _ = prepare(
        write(rows), labels=("negative", "positive", "neutral"), test_size=8, validation_size=8
    )

    assert facts.label_counts["test"] == {"negative": 2, "positive": 6, "neutral": 0}
    assert facts.label_counts["validation"] == {"negative": 2, "positive": 6, "neutral": 0}
    assert facts.said()[1].endswith("neutral (1 train, 0 validation, 0 test)")


def test_train_size_limits_the_training_split_alone(write, prepare):
    whole, _ = prepare(write(ROWS))

    facts, _ = prepare(write(ROWS), train_size=12)

    assert facts.sizes == {**whole.sizes, "train": 12}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_splits(write, prepare, tmp_path, suffix):
    expected, _ = prepare(write(ROWS, "reference.csv"))
    path = tmp_path / f"train.{suffix}"
    if suffix in ("csv", "tsv"):
        write(ROWS, path.name)
    elif suffix == "parquet":
        texts, labels = zip(*ROWS, strict=True)
        pq.write_table(pa.table({"text": texts, "label": labels}), path)
    else:
        path.write_text("\n".join(f'{{"text": "{t}", "label": "{la}"}}' for t, la in ROWS))

    facts, _ = prepare(path)

    assert facts == expected


def test_changed_file_is_read_anew(write, prepare):
    before, _ = prepare(write(ROWS))

    after, _ = prepare(write(ROWS[:36]))

    assert (sum(before.sizes.values()), sum(after.sizes.values())) == (40, 36)


def test_sentence_pairs_have_two_texts(write, prepare):
    rows = [(f"premise {n}", f"claim {n % 3}", str(n % 2)) for n in range(20)]
    path = write(rows, header="first,second,verdict")

    facts, splits = prepare(path, text=("first", "second"), label="verdict")

    assert facts.text_columns == ("first", "second")
    found = sorted(text for split in splits.values() for text in split.texts)
    assert found == sorted((first, second) for first, second, _ in rows)


def test_pair_with_one_empty_side_is_dropped(write, prepare):
    rows = [(f"premise {n}", f"claim {n}", str(n % 2)) for n in range(20)]
    path = write([*rows, ("premise", "", "0")], header="first,second,label")

    facts, _ = prepare(path, text=("first", "second"))

    assert facts.dropped_empty == 1


def test_filter_keeps_the_rows_with_these_values(write, prepare):
    rows = [(text, label, "de" if n % 2 else "en") for n, (text, label) in enumerate(ROWS)]
    path = write(rows, header="text,label,language")

    _, splits = prepare(path, filter={"language": "en"})

    found = sorted(row for split in splits.values() for row in rows_of(split))
    assert found == sorted(ROWS[::2])


def test_rows_that_the_filter_drops_may_have_other_labels(write, prepare):
    rows = [(text, label, "yes") for text, label in ROWS] + [("odd", "unsure", "no")]
    path = write(rows, header="text,label,wanted")

    facts, _ = prepare(path, filter={"wanted": "yes"})

    assert sum(facts.sizes.values()) == 40


def test_labels_may_be_indices(write, prepare):
    by_name, _ = prepare(write(ROWS))

    indices = [(text, str(int(label == "positive"))) for text, label in ROWS]
    by_index, _ = prepare(write(indices, "indices.csv"))

    assert by_index == by_name


def test_labels_may_be_indices_where_one_is_missing(write, prepare):
    rows = [(text, str(int(label == "positive"))) for text, label in ROWS]

    facts, _ = prepare(write([*rows, ("unlabelled", "")]))

    assert facts.dropped_empty == 1
    assert sum(facts.sizes.values()) == 40


@pytest.mark.parametrize("labels", [("false", "true"), ("None", "NA"), ("1.0", "2.0"), ("01", "2")])
def test_label_names_of_a_csv_are_taken_as_they_are_spelled(write, prepare, labels):
    rows = [(text, labels[label == "positive"]) for text, label in ROWS]

    facts, _ = prepare(write(rows), labels=labels)

    assert sum(facts.sizes.values()) == 40


@pytest.mark.parametrize("text", ["null", "0", "007", "True"])
def test_text_of_a_csv_is_taken_as_it_is_spelled(write, prepare, text):
    rows = [(text, "positive"), *((str(n), ROWS[n][1]) for n in range(10, 40))]

    _, splits = prepare(write(rows))

    assert (text,) in {found for split in splits.values() for found in split.texts}


def test_label_names_of_a_data_set_are_matched_by_name(prepare, tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])}
    )
    content = {"text": [str(n) for n in range(20)], "label": [n % 2 for n in range(20)]}
    path = tmp_path / "own_names.parquet"
    datasets.Dataset.from_dict(content, features=features).to_parquet(path)

    _, splits = prepare(path, labels=("neg", "pos"))

    for split in splits.values():  # even numbers have the index 0 there, which is "pos"
        for (text,), label in zip(split.texts, split.labels, strict=True):
            assert label == (1 if int(text) % 2 == 0 else 0)


def test_tiny_csv_fits_its_checkpoint(prepare, tiny_csv, tiny_checkpoint):
    vocabulary = (tiny_checkpoint / "tokenizer.json").read_text()

    facts, splits = prepare(tiny_csv, filter={"source": "press"})

    assert sum(facts.sizes.values()) == 80
    words = {word for (text,) in splits["train"].texts for word in text.split()}
    assert all(f'"{word}"' in vocabulary for word in words)


def test_rows_are_those_of_the_file_and_are_logged(write, prepare, caplog):
    caplog.set_level("INFO")

    facts, _ = prepare(write(ROWS))

    assert sum(facts.sizes.values()) == 40
    assert "data: 40 rows in " in caplog.text


def test_stray_quotes_of_a_tsv_file_swallow_no_rows(write, prepare):
    """Every 20th text begins with a quotation mark, and nothing is quoted."""
    rows = [('"' * (n % 20 == 0) + f"text number {n}", ROWS[n % 40][1]) for n in range(160)]

    facts, splits = prepare(write(rows, "reviews.tsv"))

    assert sum(facts.sizes.values()) == 160
    assert sorted(row for split in splits.values() for row in rows_of(split)) == sorted(rows)


def test_byte_order_mark_of_excel_is_no_part_of_the_header(write, prepare):
    expected, _ = prepare(write(ROWS))
    path = write(ROWS, "excel.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    assert prepare(path)[0] == expected


def test_index_that_pandas_writes_is_left_aside(write, prepare):
    expected, _ = prepare(write(ROWS))
    rows = [(str(number), *row) for number, row in enumerate(ROWS)]

    assert prepare(write(rows, "index.csv", header=",text,label"))[0] == expected


def test_labels_of_all_sources_are_read_one_way(write, prepare):
    stars = ("1", "2", "3", "4", "5")
    train = [(f"text number {n}", stars[n % 5]) for n in range(50)]
    test = [(f"test number {n}", stars[n % 4]) for n in range(8)]

    facts, _ = prepare(write(train), test=str(write(test, "test.csv")), labels=stars)

    assert facts.label_counts["test"] == {"1": 2, "2": 2, "3": 2, "4": 2, "5": 0}
