import pytest

from pipeline.config import TrainingConfig
from pipeline.facts.compute import Compute
from pipeline.training.precision import choose_precision


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_precision_of_the_config_is_taken_untried(name):
    chosen = choose_precision(TrainingConfig(precision=name), None, None, None, Compute())

    assert chosen == (name, "The config names it.")


def test_device_without_bf16_trains_in_fp32_and_says_why():
    chosen = choose_precision(TrainingConfig(), None, None, None, Compute(device="mps"))

    assert chosen == ("fp32", "mps has no instructions for bf16 products.")
