"""Stage soft_targets, where the texts were answered in shards: their files together."""

import shutil
from pathlib import Path

from pipeline.facts.training import SoftTargetFacts
from pipeline.store.stage import Stage
from pipeline.texts.soft_targets import shard_path


def join_soft_targets(
    shards: tuple[Stage[SoftTargetFacts], ...], _settings: None, out: Path
) -> SoftTargetFacts:
    """Copy the files of all shards to ``out``, in their order."""
    paths = [path for shard in shards for path in sorted(shard.folder.glob("*.arrow"))]
    for number, path in enumerate(paths):
        shutil.copyfile(path, shard_path(out, number))
    return SoftTargetFacts(
        texts=sum(shard.facts.texts for shard in shards), outputs=shards[0].facts.outputs
    )
