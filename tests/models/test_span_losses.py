import math

import pytest
import torch
from torch.autograd import gradcheck

from models.losses import SPAN_OBJECTIVE, distillation_loss
from models.span_losses import (
    BEGINS,
    ENDS,
    IGNORED,
    count_windows,
    span_cross_entropy,
    span_kl,
)

LABELS = torch.tensor([[0, IGNORED, BEGINS, ENDS], [BEGINS + ENDS, IGNORED, 0, IGNORED]])
"""An answer of two tokens, and no answer; the last token of the second window is padding."""


def logits(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 4, 2, generator=generator, dtype=dtype)


def teacher_logits(seed=1, dtype=torch.float32):
    """Return a teacher's logits: NaN where no label is."""
    return logits(seed, dtype).masked_fill((LABELS == IGNORED)[..., None], math.nan)


def test_cross_entropy_by_hand():
    # Of the tokens that count (0, 2, 3), probabilities of the beginning are 1/4, 1/2, 1/4, and of
    # the end 1/8, 1/8, 3/4: the loss is (ln 2 + ln 4/3) / 2.
    begins = torch.tensor([1.0, 100.0, 2.0, 1.0]).log()
    ends = torch.tensor([1.0, 100.0, 1.0, 6.0]).log()

    found = span_cross_entropy(torch.stack([begins, ends], dim=-1)[None], LABELS[:1])

    assert found.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, abs=1e-6)


def test_kl_by_hand():
    # Two tokens count. Beginning: teacher (3/4, 1/4), student (1/2, 1/2). End: alike.
    teacher = torch.tensor([[[math.log(3.0), 0.0], [math.nan, math.nan], [0.0, 0.0]]])
    student = torch.tensor([[[0.0, 5.0], [7.0, 9.0], [0.0, 5.0]]])

    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert span_kl(student, teacher, 1.0).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_zero_when_student_equals_teacher(temperature):
    student = logits(1) + 3.0  # the same probabilities

    found = span_kl(student, teacher_logits(1), temperature)

    torch.testing.assert_close(found, torch.zeros(2), atol=1e-6, rtol=0)


def test_kl_is_weighted_by_the_square_of_the_temperature():
    at_one = span_kl(logits(0), teacher_logits(), 1.0)

    torch.testing.assert_close(span_kl(2 * logits(0), 2 * teacher_logits(), 2.0), 4 * at_one)


def test_tokens_that_do_not_count_change_no_loss():
    changed = logits(0)
    changed[LABELS == IGNORED] = 50.0

    for loss in (
        lambda student: span_cross_entropy(student, LABELS),
        lambda student: span_kl(student, teacher_logits(), 2.0),
    ):
        torch.testing.assert_close(loss(changed), loss(logits(0)))


def test_padding_changes_no_loss():
    wide = torch.cat([logits(0), torch.full((2, 3, 2), 9.0)], dim=1)
    labels = torch.cat([LABELS, torch.full((2, 3), IGNORED)], dim=1)
    teacher = torch.cat([teacher_logits(), torch.full((2, 3, 2), math.nan)], dim=1)

    torch.testing.assert_close(
        span_cross_entropy(wide, labels), span_cross_entropy(logits(0), LABELS)
    )
    torch.testing.assert_close(
        span_kl(wide, teacher, 2.0), span_kl(logits(0), teacher_logits(), 2.0)
    )


def test_gradients_are_those_of_the_formulas():
    student = logits(0, torch.float64).requires_grad_()
    teacher = teacher_logits(1, torch.float64)

    assert gradcheck(lambda x: span_cross_entropy(x, LABELS), (student,))
    assert gradcheck(lambda x: span_kl(x, teacher, 2.0), (student,))


def test_tokens_that_do_not_count_have_no_gradient():
    student = logits(0).requires_grad_()

    span_kl(student, teacher_logits(), 2.0).sum().backward()
    span_cross_entropy(student, LABELS).sum().backward()

    assert torch.isfinite(student.grad).all()
    assert (student.grad[LABELS == IGNORED] == 0).all()


def test_gradient_of_kl_hardly_depends_on_the_temperature():
    def gradient(temperature):
        student = (1e-3 * logits(0, torch.float64)).requires_grad_()
        teacher = 1e-3 * teacher_logits(1, torch.float64)
        span_kl(student, teacher, temperature).sum().backward()
        return student.grad

    torch.testing.assert_close(gradient(1.0), gradient(8.0), rtol=5e-3, atol=1e-8)


def test_half_precision_is_computed_in_float32():
    half = logits(0).half()

    assert span_cross_entropy(half, LABELS).dtype == torch.float32
    assert span_kl(half, teacher_logits().half(), 2.0).dtype == torch.float32


def test_each_window_is_an_item():
    found = distillation_loss(
        logits(0), teacher_logits(), LABELS, objective=SPAN_OBJECTIVE, temperature=2.0, alpha=0.5
    )

    assert found.shape == (2, 2)
    assert count_windows(LABELS) == count_windows(teacher_logits()) == 2
