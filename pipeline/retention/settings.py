"""Rules of what is kept, as options of a command; nothing heavy is imported here."""

from pathlib import Path

from pydantic import Field

from pipeline.config import RegistryPlace, Section


class Retention(Section):
    """How long runs, finished stages and logs are kept, and where they are."""

    runs_dir: Path | None = None
    """Folder of the runs; by default runs in the state folder, if given, or in this folder."""

    state: Path | None = None
    """State folder of adapter-distill up, whose logs are cut too."""

    registry: str | None = None
    """URI of the MLflow server or database that the runs are registered in; mlflow.db in the runs
    folder by default. Registries that the runs' own configs name are read as well."""

    keep_days: int = Field(default=30, ge=1)
    """Days for which everything is kept after its last use."""

    keep_runs: int = Field(default=5, ge=1)
    """Newest runs of each name that are kept, however old they are."""

    keep_log_mb: int = Field(default=50, ge=1)
    """Largest size of a log, in megabytes; its oldest lines are cut beyond that."""

    remove: bool = False
    """Remove the listed items; without it nothing is changed."""

    @property
    def runs(self) -> Path:
        """Return the folder of the runs."""
        if self.runs_dir is None and self.state is not None:
            return self.state / "runs"
        return self.runs_dir or RegistryPlace().runs_dir

    @property
    def keep_s(self) -> float:
        """Return the time that everything is kept, in seconds."""
        return self.keep_days * 86400.0
