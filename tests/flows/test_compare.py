import json

import pytest
from support.smoke_runs import SMOKE

from flows.compare import compare
from pipeline.config.load import load_config
from pipeline.errors import InputError

# One worker has the Prefect server.
pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture(scope="module")
def comparison(smoke_run, smoke_overrides):
    """The comparison of two methods, beside the smoke run's stages."""
    return run(smoke_run, smoke_overrides)


def run(smoke_run, smoke_overrides, *further):
    overrides = [
        *smoke_overrides,
        f"runs_dir={smoke_run.parent}",
        'compare.methods=["houlsby", "lora"]',
        "compare.bottleneck_sizes=[]",
    ]
    return compare(load_config(SMOKE, [*overrides, *further]))


def read_models(comparison):
    found = json.loads((comparison / "comparison.json").read_text(encoding="utf-8"))
    return {model["name"]: model for model in found["models"]}


@pytest.fixture(scope="module")
def models(comparison):
    return read_models(comparison)


@pytest.mark.usefixtures("prefect_server")
def test_adapters_that_there_are_already_cannot_be_compared():
    overrides = ['teacher.adapter={from = "somewhere"}']

    with pytest.raises(InputError, match="trains its own adapters"):
        compare(load_config(SMOKE, overrides))


@pytest.mark.slow
def test_every_method_and_every_student_has_a_row(models):
    assert list(models) == [
        "head only",
        "houlsby",
        "houlsby absorbed",
        "houlsby distilled",
        "lora",
        "lora merged",
    ]


@pytest.mark.slow
def test_students_and_merged_lora_have_the_plain_backbones_graph(models):
    plain = {name for name, model in models.items() if model["is_plain_graph"]}

    assert plain == set(models) - {"houlsby", "lora"}
    for name in ("houlsby", "lora"):
        assert models[name]["latency"]["low"] <= models[name]["latency"]["high"]


@pytest.mark.slow
def test_students_are_compared_with_what_they_stand_for(models):
    assert models["lora merged"]["teacher"] == "lora"
    assert models["lora merged"]["fidelity"]["values"]["agreement"] == 1
    assert models["houlsby distilled"]["teacher"] == "houlsby"
    assert models["head only"]["fidelity"] is None


@pytest.mark.slow
def test_larger_bottleneck_trains_more(smoke_run, smoke_overrides):
    models = read_models(run(smoke_run, smoke_overrides, "compare.bottleneck_sizes=[2]"))

    assert "houlsby 2 absorbed" in models
    assert models["houlsby 2"]["trainable_parameters"] < models["houlsby"]["trainable_parameters"]


@pytest.mark.slow
def test_page_shows_a_row_a_model_and_the_plot(comparison, models):
    page = (comparison / "comparison.md").read_text(encoding="utf-8")

    assert all(f"| {name} |" in page for name in models)
    assert (comparison / "comparison.png").read_bytes().startswith(b"\x89PNG")
