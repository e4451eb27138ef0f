"""Answers of an exported student, without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import refusing
from pipeline.inference.classifier import load_bundle
from pipeline.workers.threads import count_idle_threads


def predict(bundle: Path, texts: Sequence[str | tuple[str, ...]]) -> list[dict[str, Any]]:
    """Return the answer to each text, as the student's task gives it.

    Classification: ``label``, its ``score``, and ``scores`` of all labels. Multi-label: ``labels``,
    and ``scores`` of all labels. Regression: ``value``. Token classification: ``entities``.

    Args:
        bundle: The student's folder.
        texts: Each one text, or a tuple of one or of two.

    Raises:
        InputError: when the folder is not a bundle, or a damaged one.
    """
    model = load_bundle(bundle, threads=count_idle_threads())
    with refusing(f"{bundle} cannot answer", "Export it again, or copy it anew."):
        given = [(text,) if isinstance(text, str) else text for text in texts]
        outputs = model.outputs(given)
    return model.answers(outputs, given)
