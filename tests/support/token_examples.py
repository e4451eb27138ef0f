"""Examples of random tokens for small trainings, and how many of them are answered rightly."""

import numpy as np


def make_examples(count: int) -> list[dict[str, object]]:
    """Return examples of 3 to 10 random tokens, whose first token tells the label."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        ids = [5 + number % 2, *rng.integers(7, 50, size=rng.integers(2, 10)).tolist()]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": number % 2})
    return rows


def accuracy(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {"accuracy": float((logits.argmax(axis=1) == labels).mean())}
