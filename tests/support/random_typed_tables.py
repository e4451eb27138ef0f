"""Random tables in formats that have types: JSON and Parquet."""

import datetime
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from support.random_tables import Case, encode, make_rows, spell_labels


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
