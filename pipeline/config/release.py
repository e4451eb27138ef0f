"""What becomes of a finished run, and where registered students are found."""

from pathlib import Path

from pydantic import Field

from pipeline.config.section import Section


class PromotionRule(Section):
    """What a student must hold against the champion to take its place."""

    max_champion_drop: float = Field(default=0.0, ge=0, le=1)
    """Accepted loss of the main metric against the champion (0.01 is one point): a student that
    surely lost more is not promoted."""

    min_champion_texts: int = Field(default=20, ge=1)
    """Least number of texts to compare with the champion on, where the two were measured on
    different test splits: texts that neither was trained on. With fewer it is not promoted."""


class ReleaseConfig(PromotionRule):
    """What becomes of a finished run."""

    register_run: bool = True
    """Whether the run and its student go into the registry."""

    registry: str | None = None
    """URI of an MLflow server or database; ``mlflow.db`` in ``runs_dir`` by default."""


class RegistryPlace(Section):
    """Where registered students are, for whoever has no config of a run."""

    registry: str | None = None
    """URI of an MLflow server or database; ``mlflow.db`` in the runs folder by default."""

    runs_dir: Path = Path("runs")
    """Folder of the runs."""
