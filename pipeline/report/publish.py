"""The last stage: a run's folder with its config, report, page and the student's bundle.

The folder is built beside its place and renamed when it is whole; then ``latest`` points to it.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from pipeline.chain.finished import FinishedStages
from pipeline.chain.stage_names import PUBLISH_LOCK
from pipeline.config import RunConfig
from pipeline.decisions.check import Decision
from pipeline.facts.arms import STUDENT
from pipeline.release.bundle import GOLDEN, MANIFEST, SBOM, seal_bundle
from pipeline.release.registry import BUNDLE
from pipeline.report.assemble import build_report
from pipeline.report.page import draw_plots, render_card, render_page
from pipeline.store.digests import sha256_file
from pipeline.store.files import link_or_copy, new_folder, point_to, write_atomic
from pipeline.store.stage import Artifact

PLOTS = "plots"
"""Folder of the report's plots, inside a run's."""


def publish(config: RunConfig, finished: FinishedStages, decision: Decision) -> Path:
    """Write ``runs_dir/<run_id>`` and point ``runs_dir/latest`` to it; return the folder."""
    config.runs_dir.mkdir(parents=True, exist_ok=True)
    # One run at a time, so that what is half-written now was left by a killed one.
    with FileLock(config.runs_dir / PUBLISH_LOCK):
        for left in config.runs_dir.glob(".[0-9]*-[0-9]*-*.partial"):
            shutil.rmtree(left)
        return _publish(config, finished, decision)


def _publish(config: RunConfig, finished: FinishedStages, decision: Decision) -> Path:
    root = config.runs_dir
    run_id = _new_run_id(root, config.name)
    folder = root / run_id
    with new_folder(folder) as partial:
        for stage in finished.all:
            (partial / stage.name).symlink_to(os.path.relpath(stage.folder, partial))
        bundle = partial / BUNDLE
        shutil.copytree(finished.shipped.folder / STUDENT, bundle, copy_function=link_or_copy)
        report = build_report(config, finished, decision, run_id=run_id)
        write_atomic(bundle / "README.md", render_card(report))
        seal_bundle(bundle)
        written = [
            _describe(bundle / name, partial) for name in ("README.md", GOLDEN, SBOM, MANIFEST)
        ]
        report = report.model_copy(update={"artifacts": (*report.artifacts, *written)})
        write_atomic(partial / "config.json", config.model_dump_json(indent=2))
        pictures = draw_plots(report)
        (partial / PLOTS).mkdir()
        for name, png in pictures.items():
            write_atomic(partial / PLOTS / f"{name}.png", png)
        write_atomic(partial / "report.html", render_page(report, pictures))
        write_atomic(partial / "report.json", report.model_dump_json(indent=2))
    point_to(root / "latest", folder)
    return folder


def _describe(path: Path, root: Path) -> Artifact:
    return Artifact(
        path=path.relative_to(root).as_posix(),
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
    )


def _new_run_id(root: Path, name: str) -> str:
    """Return the time and the name, with a number where another run took that."""
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    number = 1
    run_id = stem
    while (root / run_id).exists():
        number += 1
        run_id = f"{stem}-{number}"
    return run_id
