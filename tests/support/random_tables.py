"""Random tables: known rows as some program would write them, and then perhaps damaged.

The allowed effect of a damage is known too. A quotation mark in one row may change that row's text,
and no other row.
"""

import csv
import io
import re
from dataclasses import dataclass

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
