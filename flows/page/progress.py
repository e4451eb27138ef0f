"""Progress of a run and of its trainings, as progress artifacts: stages, steps, time left."""

import logging
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

logger = logging.getLogger(__name__)


class ShowProgress(logging.Handler):
    """Shows every log record with a ``progress`` or ``outlook``; one artifact per title."""

    def __init__(self) -> None:
        super().__init__()
        self._artifacts: dict[str, UUID] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Create or move the progress bar of the run or of the training."""
        progress = getattr(record, "progress", None) or getattr(record, "outlook", None)
        if progress is None:
            return
        percent = progress.percent
        try:
            if progress.title in self._artifacts:
                artifact = self._artifacts[progress.title]
                update_progress_artifact(artifact, percent, description=str(progress))
            else:
                created = create_progress_artifact(
                    progress=percent,
                    key=f"progress-{progress.title.lower().replace(' ', '-')}",
                    description=str(progress),
                )
                # Typed as what its asynchronous form returns; this one returns the id.
                self._artifacts[progress.title] = cast(UUID, created)
        # A server that is away for a moment must not end hours of training.
        except Exception as error:
            logger.warning("The progress could not be shown: %s", error)
