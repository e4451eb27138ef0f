"""Lists of labels, tags and answers, as many programs write them: read as they are, or refused."""

import csv
import io
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.tasks.multi_label import MULTI_LABEL
from pipeline.tasks.question_answering import QUESTION_ANSWERING
from pipeline.tasks.token_classification import TOKEN_CLASSIFICATION
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split

NAMES = ("joy", "anger", "it's")
TAGS = ("O", "B-person", "I-person", "B-place", "I-place")
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
SPELLINGS = ("typed", "json", "python", "numpy")
DAMAGES = {
    "unclosed": lambda cell: cell[:-1],
    "no commas": lambda cell: cell.replace(", ", " "),
    "a word": lambda _: "unknown",
    "a number": lambda _: "17",
    "another list": lambda _: '["unknown"]',
    "null": lambda _: "null",
    "a list in it": lambda cell: f"[[{cell}]]",
}


def label_sets(rng):
    """Return the task, its settings, and rows of cells and expected labels."""
    form = rng.choice(["names", "indices", "floats", "flags", "booleans"])
    rows = []
    for _ in range(rng.randrange(12, 30)):
        flags = [rng.randrange(2) for _ in NAMES]
        chosen = [at for at, flag in enumerate(flags) if flag]
        lists = {
            "names": [NAMES[at] for at in chosen],
            "indices": chosen,
            "floats": [float(at) for at in chosen],
            "flags": flags,
            "booleans": list(map(bool, flags)),
        }
        rows.append(({"labels": lists[form]}, tuple(flags)))
    return MULTI_LABEL, {"label": "labels", "labels": NAMES}, rows


def tags(rng):
    as_indices = rng.random() < 0.3
    rows = []
    for _ in range(rng.randrange(12, 30)):
        found = [rng.choice([0, 1, 3]) for _ in range(rng.randrange(1, 6))]
        words = [f"w{rng.randrange(1000)}{rng.choice(['', chr(39), 'é'])}" for _ in found]
        cell = found if as_indices else [TAGS[at] for at in found]
        rows.append(({"tokens": words, "tags": cell}, tuple(found)))
    labels = TAGS if as_indices else ("person", "place")
    return TOKEN_CLASSIFICATION, {"text": "tokens", "label": "tags", "labels": labels}, rows


def answers(rng):
    form = rng.choice(["columns", "list", "one"])
    rows = []
    for number in range(rng.randrange(12, 30)):
        before = "x é " * rng.randrange(4)
        start = len(before)
        row = {"question": f"who {number}?", "context": f"{before}it's Ada, {number} times"}
        found = {"text": "it's Ada", "answer_start": start}
        if form == "columns":
            cell = {"text": [found["text"]], "answer_start": [rng.choice([start, float(start)])]}
        else:
            cell = [found] if form == "list" else found
        rows.append((row | {"answers": cell}, (start, start + 8)))
    return QUESTION_ANSWERING, {"text": ("question", "context"), "label": "answers"}, rows


def spell(value, spelling):
    """Return a list or dictionary as a program writes it into a cell of text."""
    if spelling == "json":
        return json.dumps(value)
    return str(np.array(value, dtype=object)) if spelling == "numpy" else repr(value)


def write(rows, path, spelling):
    if spelling != "typed":
        rows = [
            {k: v if isinstance(v, str) else spell(v, spelling) for k, v in row.items()}
            for row in rows
        ]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    else:
        out = io.StringIO()
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        path.write_text(out.getvalue(), encoding="utf-8", newline="")


def read(path, task, config, folder):
    """Return the label of every text of all splits."""
    data = DataConfig(train=str(path), validation_size=1, test_size=1, **config)
    prepare_data(DataSettings(task=task, data=data, sources=(), seed=0), folder)
    splits = [read_split(folder, name) for name in SPLITS]
    return {
        text: tuple(each for each in map(int, label) if each != -100)
        for split in splits
        for text, label in zip(split.texts, split.labels.tolist(), strict=True)
    }


def case_of(seed, folder):
    """Write a random table; return how it is read, what is right, and whether it is damaged."""
    rng = random.Random(seed)
    task, config, made = rng.choice([label_sets, tags, answers])(rng)
    label, suffix = config["label"], rng.choice(FORMATS)
    spelling = rng.choice(SPELLINGS if suffix in (".jsonl", ".parquet") else SPELLINGS[1:])
    if "text" not in config:
        made = [({"text": f"some text {n}"} | row, right) for n, (row, right) in enumerate(made)]
    rows, expected = [], {}
    columns = config.get("text", "text")
    for row, right in made:
        values = [row[name] for name in ((columns,) if isinstance(columns, str) else columns)]
        text = tuple(v if isinstance(v, str) else " ".join(v) for v in values)
        if text not in expected:
            rows.append(row)
            expected[text] = right
    damage = rng.choice(list(DAMAGES)) if spelling != "typed" and rng.random() < 0.3 else None
    if damage:
        at = rng.randrange(len(rows))
        cell = spell(rows[at][label], spelling)
        rows[at] = rows[at] | {label: DAMAGES[damage](cell)}
        damage = None if rows[at][label] == cell else damage
    path = folder / f"table{suffix}"
    write(rows, path, spelling)
    return path, task, config, expected, damage, (task.name, suffix, spelling, damage)


def problem_of(seed, folder):
    """Return what is wrong with the reading of a case; None where nothing is."""
    path, task, config, expected, damage, story = case_of(seed, folder)
    try:
        found = read(path, task, config, folder)
    except InputError as error:
        certain = story[2] != "numpy" and damage is None
        return (seed, story, f"refused: {error}"[:300]) if certain or not str(error) else None
    # What must not happen is named, whatever it is.
    except Exception as error:
        return seed, story, f"{type(error).__name__}: {error}"
    if found != expected:
        wrong = [(t, found.get(t), right) for t, right in expected.items() if found.get(t) != right]
        return seed, story, f"read {wrong[:2]}"
    return (seed, story, "it was read") if damage else None


def test_lists_are_read_as_they_are_or_refused(tmp_path):
    assert [found for seed in range(60) if (found := problem_of(seed, tmp_path))] == []


@pytest.mark.slow
def test_many_lists_are_read_as_they_are_or_refused(tmp_path):
    assert [found for seed in range(1000, 6000) if (found := problem_of(seed, tmp_path))] == []
