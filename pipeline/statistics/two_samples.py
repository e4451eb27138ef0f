"""Two samples of a number: whether they come from one distribution."""

from typing import Any

import numpy as np
from scipy import stats


# Any: the fields of a record, by their names.
def two_samples(before: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    """Return both means, and the p-value of the two-sample Kolmogorov-Smirnov test."""
    return {
        "before": float(before.mean()),
        "now": float(now.mean()),
        "test": "Kolmogorov-Smirnov",
        "p_value": float(stats.ks_2samp(before, now).pvalue),
    }
