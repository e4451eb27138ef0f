"""The contract of a task: what the stages ask of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Metrics = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """The measuring half of a task."""

    main_metric: str
    """The metric that decides which weights are kept, and what the gate looks at."""
    metrics: Callable[[np.ndarray, np.ndarray], Metrics]
    """(logits, labels) -> quality."""
    fidelity: Callable[[np.ndarray, np.ndarray], Metrics]
    """(student logits, teacher logits) -> closeness."""
    predictions: Callable[[np.ndarray], np.ndarray]
    """(N, C) logits -> (N,) the class that each stands for."""
    scores: Callable[[np.ndarray], np.ndarray]
    """(N, C) logits -> (N, C) what a user reads: probabilities."""
