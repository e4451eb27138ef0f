"""Names that the parts of an installation share: pool, deployment file, interface."""

from pathlib import Path

PREFECT_FILE = Path(__file__).parents[1] / "prefect.yaml"


POOL = "adapter-distill"
"""The work pool that deployments are sent to."""


MLFLOW_UI = "ADAPTER_DISTILL_MLFLOW_UI"
"""Environment variable: where a browser finds MLflow over the registry."""
