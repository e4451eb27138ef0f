import pytest
from support.gate_facts import measured

from pipeline.config import QuantizeConfig
from pipeline.decisions.variant import judge_variant


def judge(*, accuracy=0.0, agreement=0.0, **settings):
    """Hold a file that costs so much of both against the limits."""
    return judge_variant(
        measured(0.004, accuracy=accuracy, agreement=agreement),
        measured(agreement=0.98),
        QuantizeConfig(**settings),
        metric="accuracy",
        agreement="agreement",
    )


def test_file_that_costs_nothing_is_accepted():
    quality = judge()

    assert quality.refused is None
    assert quality.cost.values == {"accuracy": 0, "agreement": 0}
    assert quality.fidelity.values == {"agreement": 0.98}


@pytest.mark.parametrize(("limit", "refused"), [(0.03, False), (0.029, True)])
def test_loss_of_the_metric_is_held_against_its_limit(limit, refused):
    quality = judge(accuracy=0.03, max_metric_drop=limit, max_agreement_drop=0)

    assert (quality.refused is not None) is refused


@pytest.mark.parametrize(("limit", "refused"), [(0.03, False), (0.029, True)])
def test_loss_of_agreement_is_held_against_its_limit(limit, refused):
    quality = judge(agreement=0.03, max_metric_drop=0, max_agreement_drop=limit)

    assert (quality.refused is not None) is refused


def test_every_reason_is_given_with_its_setting():
    refused = judge(accuracy=0.09, agreement=0.08).refused

    assert "9.00 points of accuracy against the fp32 student (8.60 to 9.40)" in refused
    assert "8.00 points of agreement with the teacher" in refused
    assert "quantize.max_metric_drop accepts 0.50" in refused
    assert "quantize.max_agreement_drop accepts 2.00" in refused


def test_variant_that_is_better_than_the_student_is_accepted():
    assert judge(accuracy=-0.1, agreement=-0.1).refused is None
