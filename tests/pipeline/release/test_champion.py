import shutil

from pipeline.release.champion import find_champion
from pipeline.release.promotion import promote
from pipeline.release.register import register


def test_there_is_no_champion_before_the_first_promotion(registry, write_run, tmp_path):
    register(registry, write_run(tmp_path / "one"))

    assert find_champion(registry, "tiny", tmp_path) is None


def test_champion_is_the_run_whose_version_was_promoted(registry, write_run, tmp_path):
    folder = write_run(tmp_path / "one")
    version = register(registry, folder)
    run = folder.rename(tmp_path / version.tags["run_id"])
    promote(registry, "tiny", str(version.number))

    assert find_champion(registry, "tiny", tmp_path) == run.resolve()
    shutil.rmtree(run)
    assert find_champion(registry, "tiny", tmp_path) is None
