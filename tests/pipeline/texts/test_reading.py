import logging
import time

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError, UnreachableError
from pipeline.texts.cells import is_value, read_texts_of, spell_cells
from pipeline.texts.reading import read_source

PLAIN = [("a film", "neg"), ("the plot", "pos"), ("so it is", "neg"), ("an end", "pos")]


@pytest.fixture
def read(tmp_path):
    """``read(content, name="t.csv", wanted=...)``: rows of the wanted columns, and the table."""

    def read(content, name="t.csv", wanted=("text", "label"), labels=("neg", "pos")):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        table = read_source(str(path), wanted, label="label", labels=labels)
        cells = [
            spell_cells(name, table.columns[name], table.source, table.place) for name in wanted
        ]
        return list(zip(*cells, strict=True)), table

    return read


def lines(separator, rows=PLAIN, header=("text", "label"), end="\n"):
    return end.join(separator.join(row) for row in [header, *rows]) + end


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_mark_and_line_ends_are_no_content(read, encoding, end):
    rows = [*PLAIN, ("żółć 日本", "pos")]

    found, _ = read(lines(",", rows, end=end).encode(encoding))

    assert found == rows


@pytest.mark.parametrize(
    ("encoding", "said"), [("cp1252", "WINDOWS-1252"), ("utf-16-le", "UTF-16LE")]
)
def test_other_encoding_is_refused_with_its_line_and_byte(read, encoding, said):
    content = lines(",", [PLAIN[0], ("naïve \u00e5 é", "pos")]).encode(encoding)

    with pytest.raises(InputError, match=r"t\.csv: line \d .*") as caught:
        read(content)

    assert f"iconv -f {said} -t UTF-8" in str(caught.value)
    if encoding == "cp1252":
        assert "line 3 is not UTF-8 (invalid continuation byte, byte 0xef at" in str(caught.value)


@pytest.mark.parametrize(
    ("start", "said"),
    [(b"PK\x03\x04", "Excel"), (b"\x1f\x8b", "gzip"), (b"PAR1", "a Parquet file")],
)
def test_file_of_another_kind_is_named(read, start, said):
    with pytest.raises(InputError, match=f"it is .*{said}"):
        read(start + b"\xff" * 50)


def test_column_without_a_name_is_left_aside(read):
    content = lines(",", [(str(n), *row) for n, row in enumerate(PLAIN)], ("", "text", "label"))

    assert read(content)[0] == PLAIN


def test_white_space_around_a_column_name_counts_for_nothing(read):
    assert read(lines(",", header=(" text", "label ")))[0] == PLAIN


def test_column_that_stands_twice_is_refused_if_it_is_wanted(read):
    rows = [(text, label, label, "x", "y") for text, label in PLAIN]
    content = lines(",", rows, ("text", "label", "label", "n", "n"))

    with pytest.raises(InputError, match=r"2 columns named 'label' \(columns 2, 3\)"):
        read(content)
    assert read(content.replace("label,label", "label,other"))[0] == PLAIN


def test_missing_column_is_refused_with_the_nearest(read):
    with pytest.raises(InputError, match=r"no column 'text'\. .*perhaps 'Text' for 'text'"):
        read(lines(",", header=("Text", "label")))


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_delimiter_that_alone_gives_the_columns_is_read_and_logged(read, delimiter, caplog):
    caplog.set_level(logging.INFO)

    assert read(lines(delimiter, [("a, b", "neg"), *PLAIN]))[0] == [("a, b", "neg"), *PLAIN]
    assert "its fields are separated by" in caplog.text


def test_comma_in_a_tsv_file_is_read_and_logged(read, caplog):
    caplog.set_level(logging.INFO)

    assert read(lines(","), "t.tsv")[0] == PLAIN
    assert "separated by commas" in caplog.text


def test_hint_of_excel_names_the_delimiter(read):
    found, table = read("sep=;\n" + lines(";"))

    assert found == PLAIN
    assert table.place(0) == "line 3"


@pytest.mark.parametrize(
    ("row", "said"),
    [("a, b,neg", "line 3 has 3 fields"), ("a", "line 3 has 1 fields"), ("a,neg,", "3 fields")],
)
def test_row_with_other_fields_than_the_header_is_refused_with_its_line(read, row, said):
    with pytest.raises(InputError, match=f"{said} where the header has 2"):
        read(f"text,label\na film,neg\n{row}\nthe plot,pos\n")


def test_quoted_fields_hold_anything(read):
    rows = [('say "no", or\r\nnot', "neg"), ("", "pos"), ("a\n\nb", "neg")]
    content = 'text,label\n"say ""no"", or\r\nnot",neg\n"",pos\n"a\n\nb","neg"'

    found, table = read(content)

    assert found == rows
    assert [table.place(row) for row in range(3)] == ["line 2", "line 4", "line 5"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ('a,neg\n"b,pos\nc,neg', "the quote that opens in line 3 never closes"),
        ('a,neg\n"b" c,pos', "opens in line 3 closes in the same line, in the middle"),
        ('a,neg\n"b,pos\nc,neg\n"d,pos', "opens in line 3 closes in line 5, in the middle"),
        ('a,neg\n"b,pos\nc,neg\nit was 5",pos', "opens in line 3 closes in line 5, and 3 lines"),
        ('a,neg\n"b, c,pos\nit was 5",neg', "opens in line 3 closes in line 4, and 2 lines"),
    ],
)
def test_quote_that_swallows_rows_is_refused_with_its_line(read, rows, said):
    with pytest.raises(InputError, match=said) as caught:
        read(f"text,label\n{rows}\n")

    assert "Close the quote" in str(caught.value)


def test_letter_in_quotes_is_no_row(read):
    text = "Dear sir, madam,\n\nI like it, and more\nbye, now"

    assert read(f'text,label\n"{text}",pos\na,neg\n')[0] == [(text, "pos"), ("a", "neg")]


@pytest.mark.parametrize("last", [("d", "neg"), ('it was 5"', "neg"), ('"d', "neg")])
def test_quotes_of_a_tsv_file_without_quoted_fields_are_text(read, caplog, last):
    caplog.set_level(logging.INFO)
    rows = [("a", "neg"), ('"b', "pos"), ("c", "neg"), last]

    assert read(lines("\t", rows), "t.tsv")[0] == rows
    assert "quotation marks are read as text" in caplog.text


def test_tsv_file_that_may_have_quoted_fields_is_refused(read):
    with pytest.raises(InputError, match="opens in line 3 never closes"):
        read(lines("\t", [('"a"', "neg"), ('"b', "pos"), ("c", "neg")]), "t.tsv")


def test_columns_of_quotes_behind_spaces_are_refused(read):
    with pytest.raises(InputError, match="a space stands before every quote"):
        read('label,text\nneg, "a"\npos, "b"\n')


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("text,label\n\n", "it has a header and no rows"),
        ("text,label\na\0b,neg\n", "line 2 holds a NUL"),
        ("text,label\na\rb,neg\n", "line 2 holds a carriage return"),
        ('""', "it holds no fields"),
    ],
)
def test_file_without_rows_or_with_what_no_text_holds_is_refused(read, content, said):
    with pytest.raises(InputError, match=f"t.csv: {said}"):
        read(content)


@pytest.mark.parametrize(
    "content",
    [
        '{"text": "a", "label": 1.50}\n\n{"text": "b\u2028c", "label": true}\r\n',
        '[{"text": "a", "label": 1.50},\n {"text": "b\u2028c", "label": true}]',
        '{"text": ["a", "b\u2028c"], "label": [1.50, true]}',
        '{\n "text": ["a", "b\u2028c"],\n "label": [1.50, true]}',
    ],
)
def test_json_is_read_as_it_is_spelled(read, content):
    assert read(content, "t.jsonl")[0] == [("a", "1.50"), ("b\u2028c", "true")]


def test_key_that_some_objects_lack_is_empty_and_counted(read, caplog):
    caplog.set_level(logging.INFO)

    found, table = read('{"text": "a", "label": "x"}\n\n{"text": "b"}\n', "t.jsonl")

    assert found == [("a", "x"), ("b", "")]
    assert table.place(1) == "line 3"
    assert "1 of 2 rows have no 'label'" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\n{"text": "b', "line 2, column 10 is no JSON"),
        ('{"text": "a"}\n["b"]', r"line 2 holds \["),
        ('{"text": "a", "text": "b"}', "line 1 holds the key 'text' twice"),
        ("[1]", "row 1 is 1, expected an object"),
        ("[]", "it holds no rows"),
        ("[" * 100_000, "is nested too deeply"),
        ("", "it is empty"),
    ],
)
def test_json_that_is_no_table_is_refused_with_its_line(read, content, said):
    with pytest.raises(InputError, match=f"t.json: {said}|it {said}"):
        read(content, "t.json")


def test_parquet_columns_are_read_by_their_types(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        "text": pa.array(["a", "b"]).dictionary_encode(),
        "label": pa.array([0.1, None], pa.float32()),
        "more": pa.array([[1], [2]]),
    }
    pq.write_table(pa.table(columns), path)

    table = read_source(str(path), ("text", "label"), label="label")

    assert set(table.columns) == {"text", "label"}
    assert table.columns["text"] == ["a", "b"]
    assert spell_cells("label", table.columns["label"], "t", table.place) == ["0.1", ""]


def test_hub_data_set_is_read_by_its_own_label_names(monkeypatch):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])}
    )
    content = datasets.Dataset.from_dict({"text": ["a"], "label": [1]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: content)

    table = read_source("owner/name@test", ("text", "label"), label="label")

    assert table.label_names == {"label": ("pos", "neg")}
    assert spell_cells("label", table.columns["label"], "t", table.place) == ["1"]
    with pytest.raises(InputError, match="owner/name has no column 'body'"):
        read_source("owner/name", ("body",), label="label")


def test_hub_that_does_not_answer_is_unreachable():
    with pytest.raises(UnreachableError, match="Cannot read the data set 'owner/name'"):
        read_source("owner/name", ("text",), label="label")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (["a"], "lists"),
        ({"a": 1}, "dictionaries"),
        (b"\xff", "bytes that are not UTF-8"),
        (True, "booleans"),
        (pa.scalar(5, pa.date32()).as_py(), "dates or times"),
        (object(), "values of the type object"),
    ],
)
def test_cell_that_is_no_text_is_refused_by_its_type(value, kind):
    with pytest.raises(InputError, match=f"'body' holds {kind}, expected text .first in line 1"):
        read_texts_of("body", ["a", value], "t.jsonl", "line {}".format)


def test_bytes_are_text_where_they_are_utf_8():
    assert read_texts_of("body", ["żó".encode(), None, " a "], "t", str) == ["żó", "", "a"]


@pytest.mark.parametrize(
    ("content", "value", "kept"),
    [
        ("1", "1", True),
        ("1.0", "1", True),
        ("1", "1.00", True),
        ("2", "1", False),
        ("true", "True", True),
        ('"01"', "1", False),
        ('"True"', "true", False),
        ("null", "", True),
        ("NaN", "nan", False),
    ],
)
def test_filter_compares_text_as_it_is_spelled_and_numbers_by_value(read, content, value, kept):
    _, table = read(f'{{"text": "a", "label": {content}}}', "t.jsonl")

    assert is_value(table.columns["label"][0], value) is kept


@pytest.mark.slow
def test_hundred_thousand_rows_take_seconds(read):
    rows = [(f'film {n}, "so good"', "neg") for n in range(100_000)]
    quoted = [('"' + text.replace('"', '""') + '"', label) for text, label in rows]

    started = time.process_time()

    assert read(lines(",", quoted))[0] == rows
    assert time.process_time() - started < 30  # a quadratic reader takes minutes
