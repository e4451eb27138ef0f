"""Which finished run's student is the champion: the one that the registry's alias names."""

from pathlib import Path

from pipeline.release.aliases import CHAMPION
from pipeline.release.registry import Registry


def find_champion(registry: Registry, name: str, runs_dir: Path) -> Path | None:
    """Return the champion's run folder; None before the first promotion, or where it is gone."""
    number = registry.alias(name, CHAMPION)
    if number is None:
        return None
    folder = runs_dir / registry.find(name, str(number)).run_id
    return folder.resolve() if (folder / "report.json").is_file() else None
