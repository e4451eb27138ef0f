"""Registration of finished runs, rules of a promotion, and the place of the registry."""

from pathlib import Path

from pydantic import Field

from pipeline.config.section import Section


class PromotionRule(Section):
    """Rules by which a student takes the champion's place."""

    max_champion_drop: float = Field(default=0.0, ge=0, le=1)
    """Largest accepted loss of the main metric against the champion (0.01 is one point). A student
    that is significantly worse is not promoted."""

    min_champion_texts: int = Field(default=20, ge=1)
    """Fewest texts to compare with the champion on, if both were measured on different test splits.
    Only texts that neither was trained on count. With fewer, the student is not promoted."""


class ReleaseConfig(PromotionRule):
    """Registration of a finished run."""

    register_run: bool = True
    """Whether the run and its student go into the registry."""

    registry: str | None = None
    """URI of an MLflow server or database; ``mlflow.db`` in ``runs_dir`` by default."""


class RegistryPlace(Section):
    """Place of the registered students, for commands without the config of a run."""

    registry: str | None = None
    """URI of an MLflow server or database; ``mlflow.db`` in the runs folder by default."""

    runs_dir: Path = Path("runs")
    """Folder of the runs."""
