"""Peak memory and time of the stages that read unlabelled texts, at growing numbers of texts.

    python -m benchmarks.streaming [targets|absorb|distill] [texts ...]

Texts are 12 random words each, in one JSONL file. ``targets`` collects them, and stores the outputs
of a two-class teacher of one layer and 32 units. By default it does so with 10,000, 100,000 and
1,000,000 texts. ``absorb`` absorbs a teacher of two layers and 128 units on 1,000, 10,000 and
100,000. ``distill`` trains a student for one epoch on 10,000 and 100,000. Every stage runs in a
process of its own. Its peak is its resident memory (VmHWM), with all libraries and with mapped
files. The output is a table in Markdown.
"""

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu import LABELS, Sizes, Study, make_study
from benchmarks.large import status_bytes
from pipeline.config import AbsorbConfig, DistillConfig
from pipeline.facts.compute import Compute
from pipeline.facts.data import DataFacts
from pipeline.stages.absorb import AbsorbSettings, absorb
from pipeline.stages.distill import DistillSettings, distill
from pipeline.stages.soft_targets import SoftTargetSettings, compute_soft_targets
from pipeline.stages.unlabelled import UnlabelledSettings, collect_unlabelled
from pipeline.store.stage import Stage
from pipeline.texts.tables import Split, write_split

WORDS, WORDS_PER_TEXT, LABELLED = 2_000, 12, 64
SMALL = Sizes(words=WORDS, layers=1, hidden=32, targets=LABELLED, absorbed=0, trained=0)
MIDDLE = Sizes(words=WORDS, layers=2, hidden=128, targets=LABELLED, absorbed=0, trained=0)
PARTS = {
    "targets": (SMALL, (10_000, 100_000, 1_000_000)),
    "absorb": (MIDDLE, (1_000, 10_000, 100_000)),
    "distill": (SMALL, (10_000, 100_000)),
}


FACTS = DataFacts(
    digest="",
    texts_digest="",
    labels=LABELS,
    text_columns=("text",),
    sizes={"train": 32, "validation": 16, "test": 16},
    label_counts={},
    dropped_duplicates=0,
    conflicting_labels=0,
    dropped_empty=0,
)


def write_inputs(study: Study, texts: int, folder: Path) -> None:
    """Write three small splits, and a JSONL file of so many texts."""
    start = 0
    for name, size in FACTS.sizes.items():
        own = Split(texts=tuple(study.texts[start : start + size]), labels=np.arange(size) % 2)
        write_split(own, folder / f"{name}.parquet")
        start += size
    rng = np.random.default_rng(1)
    words = np.array([f"word{number}" for number in range(WORDS)])
    with (folder / "texts.jsonl").open("w") as file:
        for _ in range(texts):
            text = " ".join(rng.choice(words, size=WORDS_PER_TEXT))
            file.write(json.dumps({"text": text}) + "\n")


def as_stage(folder: Path, facts: Any = None) -> Stage[Any]:
    """Return a folder as a finished stage."""
    return Stage(
        name=folder.name,
        folder=folder,
        digest="",
        facts=facts,
        artifacts=(),
        seconds=0.0,
        reused=False,
    )


def stages_of(part: str, study: Study, folder: Path) -> list[tuple[str, Callable[[Path], object]]]:
    """Return the stages of a part in their order, each as a function of its folder."""
    data = as_stage(folder, FACTS)
    unlabelled, teacher = as_stage(folder / "unlabelled"), as_stage(study.teacher)
    collect = UnlabelledSettings(
        sources=(str(folder / "texts.jsonl"),),
        digests=(),
        columns=("text",),
        subset=None,
        most=None,
    )
    answer = SoftTargetSettings(context=study.context, texts=None)
    ridge = AbsorbSettings(
        context=study.context, absorb=AbsorbConfig(texts=10**9, exact="never"), layers=None
    )
    follow = DistillSettings(
        context=study.context,
        distill=DistillConfig(alpha=1, epochs=1, batch_size=64, evaluations_per_epoch=1),
        layers=None,
    )
    found: dict[str, Callable[[Path], object]] = {
        "unlabelled": partial(collect_unlabelled, data, collect),
        "soft-targets": partial(compute_soft_targets, data, unlabelled, teacher, answer),
        "absorb": partial(absorb, data, unlabelled, teacher, ridge),
        "distill": partial(
            distill, data, unlabelled, teacher, as_stage(folder / "soft-targets"), None, follow
        ),
    }
    wanted = {
        "targets": ("unlabelled", "soft-targets"),
        "absorb": ("unlabelled", "absorb"),
        "distill": ("unlabelled", "soft-targets", "distill"),
    }
    return [(name, found[name]) for name in wanted[part]]


def measure(build: Callable[[Path], object], out: Path) -> tuple[int, float]:
    """Return peak memory in bytes and seconds of a stage, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(build, out, theirs))
    process.start()
    theirs.close()
    try:
        peak, seconds = ours.recv()
    finally:
        process.join()
    return peak, seconds


def _measure(build: Callable[[Path], object], out: Path, pipe: Connection) -> None:
    out.mkdir()
    started = time.perf_counter()
    build(out)
    pipe.send((status_bytes("VmHWM"), time.perf_counter() - started))


def main(part: str, counts: Sequence[int]) -> None:
    """Measure a part at several numbers of texts, and print a table."""
    sizes, usual = PARTS[part]
    print("| texts | stage | peak memory | seconds | files |\n|---|---|---|---|---|", flush=True)
    for texts in counts or usual:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            study = make_study(folder, Compute(), sizes)
            write_inputs(study, texts, folder)
            for stage, build in stages_of(part, study, folder):
                peak, seconds = measure(build, folder / stage)
                files = sum(path.stat().st_size for path in (folder / stage).rglob("*.*"))
                print(
                    f"| {texts:,} | {stage} | {peak / 1e6:,.0f} MB | {seconds:.0f} | "
                    f"{files / 1e6:,.1f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "targets", [int(each) for each in sys.argv[2:]])
