from pathlib import Path

import pytest

from flows.chain import run_stage
from pipeline.checkpoints.teachers import read_teacher
from pipeline.config.load import load_config
from pipeline.errors import InputError

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def load_smoke(smoke_run, smoke_overrides):
    """``load_smoke(*overrides)``: the config of a run in the first run's folder."""

    def load_smoke(*overrides):
        same = [*smoke_overrides, f"runs_dir={smoke_run.parent}"]
        return load_config(Path("configs/smoke.toml"), [*same, *overrides])

    return load_smoke


@pytest.fixture(scope="module")
def fused_overrides(load_smoke, smoke_run):
    """Overrides of a run that fuses the first run's adapters with others, trained for it."""
    second = load_smoke("name=second", "teacher.adapter.kind=parallel", "finetune.epochs=1")
    other = run_stage(second, "finetune")
    first = smoke_run / "finetune"
    adapters = f'{{from = {{first = "{first}", second = "{other}"}}, together = "fuse"}}'
    return f"teacher.adapter={adapters}", "fuse.batch_size=8", "name=fused"


@pytest.mark.usefixtures("fused_overrides")
def test_stage_has_a_link_by_the_runs_name(smoke_run):
    second = smoke_run.parent / "second.finetune"

    assert second.is_symlink()
    assert second.resolve().parent == (smoke_run.parent / ".stages").resolve()
    assert read_teacher(second).adapter.kind == "parallel"


def test_fused_teacher_is_absorbed(load_smoke, fused_overrides):
    config = load_smoke(*fused_overrides)

    absorbed = run_stage(config, "absorb")
    fused = run_stage(config, "fuse")

    assert (absorbed / "model.safetensors").is_file()
    assert read_teacher(fused).adapter.active.children == ("first", "second")


@pytest.mark.parametrize(
    ("overrides", "stage", "reason"),
    [
        (['teacher.adapter={from = "a"}'], "finetune", "the stage import makes its teacher"),
        ([], "fuse", "the stage finetune makes its teacher"),
        (["absorb.enabled=false"], "absorb", "absorb.enabled is off"),
        (["quantize.enabled=false"], "quantize", "quantize.enabled is off"),
    ],
)
def test_stage_that_a_config_does_not_have_is_told_at_once(load_smoke, overrides, stage, reason):
    with pytest.raises(InputError, match=f"no stage {stage}, because .*{reason}"):
        run_stage(load_smoke(*overrides), stage)
