"""Predictions of an exported student: labels and scores, without torch."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import refusing
from pipeline.inference.classifier import load_bundle
from pipeline.tasks.classification import SINGLE_LABEL


def predict(bundle: Path, texts: Sequence[str]) -> list[dict[str, object]]:
    """Return for each text its ``label``, the label's ``score``, and ``scores`` of all labels.

    Args:
        bundle: The student's folder.
        texts: The two texts of a sentence pair are given as one, with a tab between.

    Raises:
        InputError: when the folder is not a bundle, or a damaged one.
    """
    classifier = load_bundle(bundle)
    with refusing(f"{bundle} cannot answer", "Export it again, or copy it anew."):
        logits = classifier.logits([tuple(text.split("\t", 1)) for text in texts])
    predictions: list[dict[str, object]] = []
    for scores in SINGLE_LABEL.scores(logits):
        best = int(scores.argmax())
        predictions.append(
            {
                "label": classifier.labels[best],
                "score": float(scores[best]),
                "scores": dict(zip(classifier.labels, map(float, scores), strict=True)),
            }
        )
    return predictions
