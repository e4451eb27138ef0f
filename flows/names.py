"""Names that the parts of an installation share: pool, deployment file, interface, slots."""

import os
from pathlib import Path

from pipeline.errors import InputError

_IN_A_WHEEL = Path(__file__).with_name("prefect.yaml")

PREFECT_FILE = _IN_A_WHEEL if _IN_A_WHEEL.is_file() else Path(__file__).parents[1] / "prefect.yaml"
"""File of the deployments: beside this module in a wheel (setup.py), at the root of a checkout."""

POOL = "adapter-distill"
"""The work pool that deployments are sent to."""


MLFLOW_UI = "ADAPTER_DISTILL_MLFLOW_UI"
"""Environment variable: where a browser finds MLflow over the registry."""

SLOTS = "ADAPTER_DISTILL_SLOTS"
"""Environment variable: how many stages may be built at once."""


def slots() -> int:
    """Return how many stages may be built at once on this installation.

    Raises:
        InputError: when ADAPTER_DISTILL_SLOTS is no number of slots.
    """
    given = os.environ.get(SLOTS, "1")
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise InputError(f"{SLOTS} is {given!r}: give a whole number, at least 1, or unset it.")
    return int(given)
