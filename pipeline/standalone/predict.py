"""Answers of an exported student, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import refusing
from pipeline.inference.classifier import load_bundle
from pipeline.workers.threads import count_idle_threads


def predict(bundle: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the answer to each text, as the student's task gives it.

    Classification: ``label``, its ``score``, and ``scores`` of all labels. Regression: ``value``.

    Args:
        bundle: The student's folder.
        texts: The two texts of a sentence pair are given as one, with a tab between.

    Raises:
        InputError: when the folder is not a bundle, or a damaged one.
    """
    model = load_bundle(bundle, threads=count_idle_threads())
    with refusing(f"{bundle} cannot answer", "Export it again, or copy it anew."):
        outputs = model.outputs([tuple(text.split("\t", 1)) for text in texts])
    return model.task.answers(outputs, model.labels)
