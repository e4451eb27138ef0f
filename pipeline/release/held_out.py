"""Two students that were measured on different texts, paired on texts that neither was trained on.

The texts are in the folders of the runs that made the students, if these are on this machine. Texts
that one student was trained on would flatter it, so a comparison needs the splits of both runs.
"""

from pathlib import Path

from pipeline.facts.paired import Paired
from pipeline.inference.classifier import Classifier, load_bundle
from pipeline.release.registry import REPORT, Registry, Version
from pipeline.statistics.paired import compare_paired
from pipeline.store.digests import sha256_file
from pipeline.tasks.all_tasks import find_task
from pipeline.tasks.task import Task
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import Split, Text, read_split


def held_out_of_both(champion: Path, challenger: Path, task: Task) -> Split:
    """Return the challenger's test texts that the champion was not trained on.

    Texts that belong together with one of those, as questions about one context, are left out too.

    Args:
        champion: The folder of the champion's data stage.
        challenger: The same of the challenger.
        task: The task of both.
    """

    def known_by(text: Text) -> object:
        return text if task.labels.together is None else task.labels.together(text)

    seen = {
        known_by(text)
        for name in ("train", "validation")
        for text in read_split(champion, name).texts
    }
    test = read_split(challenger, "test")
    rows = [row for row, text in enumerate(test.texts) if known_by(text) not in seen]
    return Split(texts=tuple(test.texts[row] for row in rows), labels=test.labels[rows])


def pair_on_held_out(
    registry: Registry, baseline: Version, candidate: Version, *, confidence: float, min_texts: int
) -> Paired | str:
    """Return both on the larger test split of texts held out of both; else why there is none."""
    folders = [_data_of(registry, each) for each in (baseline, candidate)]
    for version, folder in zip((baseline, candidate), folders, strict=True):
        if folder is None:
            return f"the texts of version {version.number} are not in {registry.runs}"
    old, new = (folder for folder in folders if folder is not None)
    task = find_task(registry.report(candidate).task)
    texts = max(held_out_of_both(old, new, task), held_out_of_both(new, old, task), key=len)
    if len(texts) < min_texts:
        return f"only {len(texts)} texts are held out of both, min_champion_texts is {min_texts}"
    models = [load_bundle(registry.fetch(each)) for each in (baseline, candidate)]
    if (models[0].task, models[0].labels) != (models[1].task, models[1].labels):
        labels = " and ".join(", ".join(model.labels[:5]) for model in models)
        return f"they answer with different labels ({labels})"
    return pair_models(models[0], models[1], texts, confidence=confidence)


def pair_models(old: Classifier, new: Classifier, texts: Split, *, confidence: float) -> Paired:
    """Return how one model differs from another of its task on the same labelled texts."""
    before, now = (each.readings(texts.texts, title="comparing") for each in (old, new))
    return compare_paired(
        before,
        now,
        old.task.truth(texts.texts, texts.labels),
        metrics=old.task.metrics,
        errors=old.task.errors,
        confidence=confidence,
    )


def _data_of(registry: Registry, version: Version) -> Path | None:
    """Return the folder of a version's splits, where its own run is on this machine."""
    run = registry.runs / version.tags.get("run_id", "unknown")
    data, report = run / "data", run / REPORT
    if not report.is_file() or sha256_file(report) != version.tags.get("report_sha256"):
        return None
    is_whole = all((data / f"{split}.parquet").is_file() for split in SPLITS)
    return data if is_whole else None
