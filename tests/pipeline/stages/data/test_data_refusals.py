import pytest

from pipeline.errors import InputError

ROWS = [(f"text number {n}", "positive" if n % 4 else "negative") for n in range(40)]


def test_unknown_labels_are_named(write, prepare):
    path = write([*ROWS, ("odd", "unsure"), ("odder", "mixed")])

    with pytest.raises(InputError, match=r"'label' holds 'mixed', 'unsure', .*data\.labels") as e:
        prepare(path)

    assert "['negative', 'positive']" in str(e.value)


def test_missing_columns_are_named_beside_the_ones_there(write, prepare):
    path = write(ROWS, header="sentence,label")

    with pytest.raises(InputError, match=r"no column 'text', 'language'\.") as caught:
        prepare(path, filter={"language": "en"})

    assert "Its columns are 'sentence', 'label'" in str(caught.value)


def test_filter_that_leaves_nothing_is_refused(write, prepare):
    with pytest.raises(InputError, match=r"40 rows read, 0 left by data\.filter .*'label': 'x'"):
        prepare(write(ROWS), filter={"label": "x"})


def test_file_of_unlabelled_texts_is_refused(write, prepare):
    with pytest.raises(InputError, match="no usable row: 2 rows read"):
        prepare(write([("first", ""), ("second", "")]))


def test_one_class_alone_is_refused(write, prepare):
    rows = [row for row in ROWS if row[1] == "positive"]

    with pytest.raises(InputError, match=r"one class only \('positive'\)"):
        prepare(write(rows))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"test_size": 40}, r"test_size = 40 takes 40 of 40 texts.* between 1 and 39"),
        ({"test_size": 0.001}, r"test_size = 0\.001 takes 0 of 40 texts"),
        ({"test_size": 30, "validation_size": 10}, r"validation_size = 10 takes 10 of 10 texts"),
    ],
)
def test_sizes_that_leave_an_empty_split_are_refused(write, prepare, sizes, message):
    with pytest.raises(InputError, match=message):
        prepare(write(ROWS), **sizes)


def test_training_split_that_the_test_split_holds_wholly_is_refused(write, prepare):
    path = write(ROWS)

    with pytest.raises(InputError, match="The train split is empty"):
        prepare(path, test=str(path), validation=str(write([("new", "positive")], "v.csv")))


@pytest.mark.parametrize("reference", ["no-such-owner/no-such-data", "no-such-owner/data@test"])
def test_hub_that_cannot_be_reached_is_an_input_error(prepare, reference):
    with pytest.raises(InputError, match=f"Cannot read the data set '{reference}'"):
        prepare(reference)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("header.csv", b"text,label\n"),
        ("broken.jsonl", b'{"text": "a"'),
        ("broken.parquet", b"not parquet"),
        ("latin.csv", "text,label\nnaïve,positive\n".encode("latin-1")),
    ],
)
def test_file_that_cannot_be_read_is_refused_by_its_name(prepare, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=f"Cannot read the file .*{name}"):
        prepare(tmp_path / name)


def test_other_suffix_is_refused(prepare, tmp_path):
    (tmp_path / "texts.xlsx").touch()

    with pytest.raises(InputError, match=r"ending in \.csv.*found 'texts.xlsx'"):
        prepare(tmp_path / "texts.xlsx")


def test_label_that_is_no_single_value_is_an_input_error(prepare, tmp_path):
    path = tmp_path / "lists.jsonl"
    path.write_text('{"text": "a", "label": ["positive"]}\n')

    with pytest.raises(InputError, match="label"):
        prepare(path)


def test_indices_beside_names_that_are_numbers_are_refused_with_both_readings(write, prepare):
    rows = [(f"text number {n}", str(n % 5)) for n in range(40)]

    with pytest.raises(InputError, match="can be read in two ways") as caught:
        prepare(write(rows), labels=("1", "2", "3", "4", "5"))

    assert "As names they fit 4 of 5 values, as indices 5" in str(caught.value)


@pytest.mark.parametrize("value", ['["a"]', "7", "true", '{"a": 1}'])
def test_text_that_is_none_is_refused_by_its_type_and_line(prepare, tmp_path, value):
    path = tmp_path / "t.jsonl"
    path.write_text(f'{{"text": "a", "label": "positive"}}\n{{"text": {value}, "label": "x"}}\n')

    with pytest.raises(InputError, match=r"'text' holds .*, expected text \(first in line 2"):
        prepare(path, labels=("positive", "x"))


def test_filter_that_leaves_nothing_names_the_values_there_are(write, prepare):
    with pytest.raises(InputError, match="'label' holds 'positive', 'negative'"):
        prepare(write(ROWS), filter={"label": "x"})


def test_misspelled_label_is_refused_with_its_line(write, prepare):
    with pytest.raises(InputError, match=r"train\.csv, line 42; nearest: 'positive'"):
        prepare(write([*ROWS, ("odd", "positiv")]))
