"""Whatever a table looks like: its rows come out as they are, or one `InputError` does.

Each case writes known rows as some program would, and may then damage the file. What a damage may
change is known too: a quotation mark in one row may change that row's text, and no other row.
"""

import csv
import datetime
import io
import json
import os
import random
import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split

PIECES = [
    *(
        "good",
        "film",
        "bad plot",
        "naïve",
        "żółć",
        "日本",
        "😀",
        "NA",
        "null",
        "None",
        "007",
        "1.0",
    ),
    *(", ", "; ", " | ", "\t", '"', '""', "'", '5" disk', '"oh"', "\\", '\\"', "#", "{", "[1]"),
    *("\n", "\r\n", "\r", "\u2028", "\x85", "\x0c", "\ufeff", "\xa0", " ", "negative", "positive"),
]
LABELS = [
    ("negative", "positive"),
    ("no", "yes", "maybe"),
    ("0", "1"),
    ("1", "2", "3"),
    ("False", "True"),
    ("a,b", 'say "c"', "d;e"),
]
WHOLLY_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass
class Case:
    """A file, and what may come out of it."""

    suffix: str
    data: bytes
    labels: tuple
    expected: list  # (text, name of the label), in the file's order
    story: list
    must_refuse: bool = False
    damaged: int | None = None
    """Row whose text may be another one."""
    may_end_early: bool = False


def make_rows(rng, labels):
    rows = {}
    # Lone carriage returns are no line ends, and no writer quotes them: most files have none.
    pieces = PIECES if rng.random() < 0.2 else [each for each in PIECES if "\r" not in each]
    for number in range(rng.randrange(12, 40)):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 8))).strip()
        label = labels[number % len(labels)] if rng.random() < 0.8 else rng.choice(labels)
        rows.setdefault(f"{text} {number}" if rng.random() < 0.9 else text or str(number), label)
    return list(rows.items())


def spell_labels(rng, rows, labels, story):
    """Spell the labels another way; where they cannot be read, that is said."""
    style = rng.choice(["names"] * 12 + ["indices", "floats", "case", "nan", "typo", "mixed"])
    story.append(f"labels as {style}")
    index = {name: number for number, name in enumerate(labels)}
    if style == "indices":
        cells = [str(index[label]) for _, label in rows]
    elif style == "floats":
        cells = [f"{index[label]}.0" for _, label in rows]
    elif style == "case":
        cells = [label.swapcase() for _, label in rows]
    else:
        cells = [label for _, label in rows]
    spoiled = {"nan": "NaN", "typo": labels[0] + "x", "mixed": str(index[labels[-1]])}
    if style in spoiled:
        cells[rng.randrange(len(cells))] = spoiled[style]
    # A mixed column may still be one of names, such as "1" among "1", "2" and "3".
    must_refuse = style in ("nan", "typo") or (style == "mixed" and spoiled[style] not in labels)
    return cells, must_refuse, style == "mixed"


def write_delimited(rng, rows, cells, story):
    """Return suffix, bytes and the texts as the file has them; None where it cannot hold them."""
    suffix, delimiter = rng.choice([(".csv", ",")] * 3 + [(".tsv", "\t")] * 2)
    if rng.random() < 0.2:
        delimiter = rng.choice(",;\t|")
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE])
    line_end = rng.choice(["\n"] * 4 + ["\r\n"] * 3 + ["\r"])
    columns = ["text", "label"]
    if rng.random() < 0.3:
        columns.insert(rng.randrange(3), rng.choice(["", "id", "note"]))
    if rng.random() < 0.3:
        columns.reverse()
    story.append(f"{suffix} {delimiter!r} quoting {quoting} ends {line_end!r} {columns}")
    out = io.StringIO()
    if quoting == csv.QUOTE_NONE:
        special = (delimiter, "\n", "\r")
        rows = [(t, c) for t, c in zip(rows, cells, strict=True) if not has(t, c, special)]
        out.write(line_end.join(delimiter.join(row) for row in table(columns, rows)) + line_end)
    else:
        rows = list(zip(rows, cells, strict=True))
        writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
        writer.writerows(table(columns, rows))
    return suffix, out.getvalue(), [text for text, _ in rows], [cell for _, cell in rows], quoting


def has(text, cell, special):
    return any(each in text or each in cell for each in special)


def table(columns, rows):
    """Return the header and rows of these columns."""
    yield columns
    for number, (text, cell) in enumerate(rows):
        values = {"text": text, "label": cell}
        yield [values.get(name, str(number)) for name in columns]


def encode(rng, text, story):
    encoding = rng.choice(
        ["utf-8"] * 14 + ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252", "latin-1"]
    )
    data = text.encode(encoding, "replace")
    if data.isascii() and not text.isascii():  # nothing but question marks is left of it
        data, encoding = text.encode(), "utf-8"
    story.append(encoding)
    return data, encoding


def delimited_case(rng, labels, story):
    rows = make_rows(rng, labels)
    cells, must_refuse, mixed = spell_labels(rng, rows, labels, story)
    texts = [text for text, _ in rows]
    name_of = dict(zip(texts, (label for _, label in rows), strict=True))
    suffix, text, texts, written, quoting = write_delimited(rng, texts, cells, story)
    if quoting == csv.QUOTE_NONE and any(map(WHOLLY_QUOTED.fullmatch, [*texts, *written])):
        return None  # not to be told from quoted fields
    expected = [(each, name_of[each]) for each in texts]
    if mixed:
        expected = [
            (t, c if c in labels else None) for (t, _), c in zip(expected, written, strict=True)
        ]
    case = Case(suffix, b"", labels, expected, story)
    case.must_refuse = must_refuse and any(c not in labels for c in written)
    text = damage(rng, text, case) if rng.random() < 0.5 else text
    case.data, encoding = encode(rng, text, story)
    if encoding in ("cp1252", "latin-1") and not text.isascii():
        case.must_refuse = True
    return case


def damage(rng, text, case):
    """Return a damaged file; the case says what may change by it."""
    kind = rng.choice(["quote", "unquote", "truncate", "field", "lines", "nul"])
    place = rng.randrange(len(text))
    case.story.append(f"{kind} at {place}")
    if kind == "nul":
        case.must_refuse = True
        return text[:place] + "\0" + text[place:]
    if kind == "truncate":
        case.may_end_early, case.must_refuse = True, False
        return text[:place]
    if kind == "quote":
        case.damaged = -1
        return text[:place] + '"' + text[place:]
    if kind == "unquote" and '"' in text:
        place = text.index('"', text.rindex('"', 0, place) if '"' in text[:place] else 0)
        case.damaged = -1
        return text[:place] + text[place + 1 :]
    if kind == "field":
        place = text.rfind("\n", 0, place) + 1
        case.damaged = -1
        return text[:place] + rng.choice([",", "\t", "a,", "a\tb\t"]) + text[place:]
    return text + rng.choice(["\n\n", "\n   \n", ""])


def json_case(rng, labels, story):
    rows = make_rows(rng, labels)
    cells, must_refuse, mixed = spell_labels(rng, rows, labels, story)
    values = [typed_label(rng, cell) for cell in cells]
    objects = [{"text": t, "label": v} for (t, _), v in zip(rows, values, strict=True)]
    case = Case(rng.choice([".jsonl", ".json"]), b"", labels, list(rows), story)
    case.must_refuse = must_refuse
    if mixed:
        case.expected = [
            (t, c if c in labels else None) for (t, _), c in zip(rows, cells, strict=True)
        ]
    spoil_objects(rng, objects, case)
    shape = rng.choice(["lines", "lines", "array", "columns"])
    # UTF-8 cannot express half a character, its escape can.
    ascii_only = rng.random() < 0.5 or any("\ud800" in str(each.get("text")) for each in objects)
    story.append(f"{case.suffix} {shape} ascii={ascii_only}")
    if shape == "lines" or len({tuple(each) for each in objects}) > 1:
        lines = [json.dumps(each, ensure_ascii=ascii_only) for each in objects]
        text = rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["", "\n", "\n\n"])
    elif shape == "array":
        text = json.dumps(objects, ensure_ascii=ascii_only, indent=rng.choice([None, 2]))
    else:
        columns = {name: [each[name] for each in objects] for name in objects[0]}
        text = json.dumps(columns, ensure_ascii=ascii_only, indent=rng.choice([None, 2]))
    if rng.random() < 0.2:
        place = rng.randrange(len(text))
        story.append(f"truncate at {place}")
        text, case.may_end_early, case.must_refuse = text[:place], True, False
    case.data, encoding = encode(rng, text, story)
    if encoding in ("cp1252", "latin-1") and not text.isascii():
        case.must_refuse = True
    return case


def typed_label(rng, cell):
    """Return a label as another program would type it."""
    if cell in ("True", "False") and rng.random() < 0.5:
        return cell == "True"
    if cell.replace(".0", "").isdigit() and rng.random() < 0.5:
        return float(cell) if "." in cell else int(cell)
    if cell == "NaN" and rng.random() < 0.5:
        return float("nan")
    return cell


ODD_TEXTS = [
    *(["a", "list"], {"a": "dict"}, 17, 2.5, True, float("nan")),
    *("half \ud800", ["nested", ["list"]]),
]


def spoil_objects(rng, objects, case):
    """Put something else in place of a text, or leave out a key."""
    kind = (
        "none"
        if case.must_refuse
        else rng.choice(["none"] * 4 + ["odd", "null", "missing", "label", "twice"])
    )
    row = rng.randrange(len(objects))
    case.story.append(f"{kind} in row {row}")
    if kind == "odd":
        objects[row]["text"] = rng.choice(ODD_TEXTS)
        case.must_refuse = True
    elif kind == "null":
        objects[row]["text"] = None
        del case.expected[row]
    elif kind == "missing":
        del objects[row][rng.choice(["text", "label"])]
        del case.expected[row]
    elif kind == "label":
        objects[row]["label"] = rng.choice([["a"], {"a": 1}])
        case.must_refuse = True


def parquet_case(rng, labels, story):
    rows = make_rows(rng, labels)
    cells, must_refuse, mixed = spell_labels(rng, rows, labels, story)
    texts = [text for text, _ in rows]
    case = Case(".parquet", b"", labels, list(rows), story, must_refuse)
    if mixed:
        case.expected = [
            (t, c if c in labels else None) for (t, _), c in zip(rows, cells, strict=True)
        ]
    kind = rng.choice(
        [
            "string",
            "large",
            "dictionary",
            "view",
            "bytes",
            "latin",
            "lists",
            "dates",
            "ints",
            "struct",
        ]
    )
    story.append(f"parquet of {kind}")
    column = {
        "string": lambda: pa.array(texts),
        "large": lambda: pa.array(texts, pa.large_string()),
        "dictionary": lambda: pa.array(texts).dictionary_encode(),
        "view": lambda: pa.array(texts, pa.string_view()),
        "bytes": lambda: pa.array([text.encode() for text in texts], pa.binary()),
        "latin": lambda: pa.array([text.encode("utf-16") for text in texts], pa.binary()),
        "lists": lambda: pa.array([[text] for text in texts]),
        "dates": lambda: pa.array([datetime.date(2020, 1, 1)] * len(texts)),
        "ints": lambda: pa.array(range(len(texts))),
        "struct": lambda: pa.array([{"text": text} for text in texts]),
    }[kind]()
    case.must_refuse |= kind in ("latin", "lists", "dates", "ints", "struct")
    label = pa.array(cells)
    if all(cell.isdigit() for cell in cells) and rng.random() < 0.5:
        label = label.cast(rng.choice([pa.int8(), pa.int64(), pa.float32(), pa.float64()]))
    out = io.BytesIO()
    pq.write_table(pa.table({"text": column, "label": label, "more": [[1]] * len(texts)}), out)
    case.data = out.getvalue()
    if rng.random() < 0.1:
        case.data = case.data[: rng.randrange(len(case.data))]
        case.must_refuse = True
    return case


def make_case(seed):
    rng = random.Random(seed)
    story = [f"seed {seed}"]
    labels = rng.choice(LABELS)
    make = rng.choice([delimited_case] * 6 + [json_case] * 3 + [parquet_case] * 2)
    return make(rng, labels, story)


def read_rows(case, folder):
    """Return every row that the data stage makes of a file."""
    path = folder / f"table{case.suffix}"
    path.write_bytes(case.data)
    config = DataConfig(train=str(path), labels=case.labels, validation_size=1, test_size=1)
    settings = DataSettings(task=CLASSIFICATION, data=config, sources=(), seed=0)
    prepare_data(settings, folder)
    return {
        text: case.labels[label]
        for name in SPLITS
        for split in [read_split(folder, name)]
        for (text,), label in zip(split.texts, split.labels, strict=True)
    }


def problem_of(case, folder):
    """Return what is wrong with the reading of a case; None where nothing is."""
    try:
        found = read_rows(case, folder)
    except InputError as error:
        return None if str(error).strip() else "an empty message"
    # What must not happen is named, whatever it is.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if case.must_refuse:
        return "it was read"
    return difference(case, found)


def difference(case, found):
    expected = {text.strip(): label for text, label in reversed(case.expected) if text.strip()}
    missing = {t: la for t, la in expected.items() if found.get(t) != la}
    strange = {t: la for t, la in found.items() if expected.get(t) != la}
    if case.may_end_early:
        order = [text.strip() for text, _ in case.expected if text.strip()]
        kept = [text for text in dict.fromkeys(order) if text not in missing]
        is_prefix = order[: len(kept)] == kept or len(missing) <= len(order) - len(kept)
        # The last row may be cut, inside its text.
        last = all(any(text.startswith(t) for text in missing) for t in strange)
        return None if is_prefix and len(strange) <= 1 and last else f"{missing} -> {strange}"
    allowed = 0 if case.damaged is None else 1
    if len(missing) == len(strange) <= allowed:
        return None
    return f"{missing} -> {strange}"


def run_cases(seeds, folder):
    """Return the stories of cases that were read wrongly, and how many were read and refused."""
    wrong = []
    for seed in seeds:
        case = make_case(seed)
        if case is not None and (problem := problem_of(case, folder)):
            wrong.append((case.story, problem[:300]))
    return wrong


def test_tables_are_read_as_they_are_or_refused(tmp_path):
    assert run_cases(range(300), tmp_path) == []


@pytest.mark.slow
def test_ten_thousand_tables_are_read_as_they_are_or_refused(tmp_path):
    first = int(os.environ.get("TABLES_FROM", "1000"))

    assert run_cases(range(first, first + 10_000), tmp_path) == []
