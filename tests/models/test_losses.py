import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from models.losses import (
    CLASSIFICATION_OBJECTIVE,
    MULTI_LABEL_OBJECTIVE,
    REGRESSION_OBJECTIVE,
    TOKEN_OBJECTIVE,
    bernoulli_kl,
    binary_cross_entropy,
    count_tokens,
    cross_entropy,
    distillation_loss,
    kl_divergence,
    squared_distance,
    squared_error,
    token_cross_entropy,
    token_kl,
)

STUDENT = torch.tensor([[0.2, -1.0, 0.5], [2.0, 0.1, -0.3]])
TEACHER = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
LABELS = torch.tensor([2, 0])


def loss_of(student, teacher=TEACHER, *, temperature=2.0, alpha=0.5):
    return distillation_loss(
        student,
        teacher,
        LABELS,
        objective=CLASSIFICATION_OBJECTIVE,
        temperature=temperature,
        alpha=alpha,
    )


def test_kl_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2).
    teacher = torch.tensor([[math.log(3.0), 0.0]])
    student = torch.zeros(1, 2)

    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_divergence(student, teacher, 1.0).item() == pytest.approx(expected, abs=1e-6)


def test_kl_is_weighted_by_the_square_of_the_temperature():
    # At T = 2 the teacher's logits ln 9 and 0 become ln 3 and 0: the case above, times 4.
    teacher = torch.tensor([[math.log(9.0), 0.0]])
    student = torch.zeros(1, 2)

    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert kl_divergence(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-6)


def test_kl_goes_from_teacher_to_student():
    p, q = F.softmax(TEACHER, dim=-1), F.softmax(STUDENT, dim=-1)

    torch.testing.assert_close(kl_divergence(STUDENT, TEACHER, 1.0), (p * (p / q).log()).sum(-1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_zero_when_student_equals_teacher(temperature):
    shifted = TEACHER + 3.0  # the same probabilities

    torch.testing.assert_close(kl_divergence(shifted, TEACHER, temperature), torch.zeros(2))


def test_alpha_zero_is_plain_cross_entropy():
    expected = F.cross_entropy(STUDENT, LABELS, reduction="none")

    torch.testing.assert_close(loss_of(STUDENT, temperature=3.0, alpha=0.0), expected)


def test_alpha_one_is_plain_kl():
    expected = kl_divergence(STUDENT, TEACHER, 3.0)

    torch.testing.assert_close(loss_of(STUDENT, temperature=3.0, alpha=1.0), expected)


def test_alpha_weighs_both_terms():
    expected = 0.3 * kl_divergence(STUDENT, TEACHER, 2.0) + 0.7 * cross_entropy(STUDENT, LABELS)

    torch.testing.assert_close(loss_of(STUDENT, alpha=0.3), expected)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])

    found = cross_entropy(logits, torch.tensor([0, 1]))

    torch.testing.assert_close(found, torch.tensor([math.log(4 / 3), math.log(4.0)]))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_gradient_passes_gradcheck(alpha):
    student = STUDENT.double().requires_grad_()

    assert gradcheck(lambda logits: loss_of(logits, TEACHER.double(), alpha=alpha), (student,))


def test_gradient_of_small_logits_does_not_depend_on_the_temperature():
    gradients = []
    for temperature in (1.0, 5.0):
        student = (1e-3 * STUDENT).requires_grad_()
        kl_divergence(student, 1e-3 * TEACHER, temperature).sum().backward()
        gradients.append(student.grad)

    # First order: T * (softmax(s / T) - softmax(t / T)) is (s - t) centred, over C, for every T.
    difference = 1e-3 * (STUDENT - TEACHER)
    expected = (difference - difference.mean(dim=-1, keepdim=True)) / 3
    torch.testing.assert_close(gradients[0], expected, rtol=5e-3, atol=1e-7)
    torch.testing.assert_close(gradients[1], expected, rtol=5e-3, atol=1e-7)


def test_half_precision_logits_are_compared_in_single_precision():
    student, teacher = STUDENT.bfloat16(), TEACHER.bfloat16()

    expected = kl_divergence(student.float(), teacher.float(), 2.0)
    assert torch.equal(kl_divergence(student, teacher, 2.0), expected)


def test_squared_error_by_hand():
    found = squared_error(torch.tensor([[1.5], [-2.0]]), torch.tensor([1.0, 1.0]))

    torch.testing.assert_close(found, torch.tensor([0.25, 9.0]))


def test_squared_error_of_one_and_of_whole_numbers():
    assert squared_error(torch.tensor([[0.5]]), torch.tensor([2])).tolist() == [2.25]


def test_squared_distance_is_zero_when_student_equals_teacher():
    outputs = torch.tensor([[1.5], [-2.0]])

    assert squared_distance(outputs, outputs.clone(), 1.0).tolist() == [0.0, 0.0]


def test_squared_distance_knows_no_temperature():
    student, teacher = torch.tensor([[1.5], [-2.0]]), torch.tensor([[1.0], [1.0]])

    expected = torch.tensor([0.25, 9.0])
    for temperature in (0.5, 1.0, 4.0):
        torch.testing.assert_close(squared_distance(student, teacher, temperature), expected)


def test_distillation_of_numbers_weighs_teacher_and_label():
    student, teacher = torch.tensor([[1.5], [-2.0]]), torch.tensor([[1.0], [1.0]])

    found = distillation_loss(
        student,
        teacher,
        torch.tensor([0.5, -2.0]),
        objective=REGRESSION_OBJECTIVE,
        temperature=2.0,
        alpha=0.25,
    )

    # To the teacher 1/4 and 9, to the labels 1 and 0.
    torch.testing.assert_close(found, torch.tensor([0.25 * 0.25 + 0.75, 0.25 * 9.0]))


def test_gradient_of_squared_errors_passes_gradcheck():
    student = torch.tensor([[1.5], [-2.0]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 1.0], dtype=torch.float64)

    assert gradcheck(lambda outputs: squared_error(outputs, labels), (student,))


def test_half_precision_numbers_are_compared_in_single_precision():
    found = squared_error(torch.tensor([[300.0]]).bfloat16(), torch.tensor([301.0]))

    assert found.dtype == torch.float32
    assert found.tolist() == [1.0]


def test_binary_cross_entropy_by_hand():
    # Probabilities 3/4 and 1/2: the first label applies, the second does not.
    logits = torch.tensor([[math.log(3.0), 0.0]])

    expected = (math.log(4 / 3) + math.log(2.0)) / 2
    found = binary_cross_entropy(logits, torch.tensor([[1, 0]]))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_bernoulli_kl_by_hand():
    # At T = 2 the logit ln 9 becomes ln 3. Teacher 3/4, student 1/2; the second label agrees.
    teacher, student = torch.tensor([[math.log(9.0), 1.0]]), torch.tensor([[0.0, 1.0]])

    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert bernoulli_kl(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_bernoulli_kl_is_exactly_zero_when_student_equals_teacher(temperature):
    logits = torch.tensor([[-200.0, -3.0, 0.0, 50.0]])

    assert bernoulli_kl(logits, logits.clone(), temperature).tolist() == [0.0]


def test_bernoulli_kl_of_certain_labels_is_finite():
    found = bernoulli_kl(torch.tensor([[-300.0]]), torch.tensor([[300.0]]), 1.0)

    assert found.item() == pytest.approx(300.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_gradient_of_multi_label_losses_passes_gradcheck(alpha):
    student, labels = STUDENT.double().requires_grad_(), torch.tensor([[1, 0, 1], [0, 0, 1]])

    def loss(logits):
        return distillation_loss(
            logits,
            TEACHER.double(),
            labels,
            objective=MULTI_LABEL_OBJECTIVE,
            temperature=2.0,
            alpha=alpha,
        )

    assert gradcheck(loss, (student,))


def test_bernoulli_gradient_of_small_logits_does_not_depend_on_the_temperature():
    # First order: T * (sigmoid(s / T) - sigmoid(t / T)) is (s - t) / 4, over C labels.
    expected = 1e-3 * (STUDENT - TEACHER) / 4 / 3
    for temperature in (1.0, 5.0):
        student = (1e-3 * STUDENT).requires_grad_()
        bernoulli_kl(student, 1e-3 * TEACHER, temperature).sum().backward()
        torch.testing.assert_close(student.grad, expected, rtol=5e-3, atol=1e-7)


def test_half_precision_multi_label_losses_are_those_of_single_precision():
    student, teacher, labels = STUDENT.bfloat16(), TEACHER.bfloat16(), torch.tensor([[1, 0, 1]] * 2)

    expected = bernoulli_kl(student.float(), teacher.float(), 2.0)
    assert torch.equal(bernoulli_kl(student, teacher, 2.0), expected)
    expected = binary_cross_entropy(student.float(), labels)
    assert torch.equal(binary_cross_entropy(student, labels), expected)


NAN = float("nan")


def test_token_cross_entropy_by_hand():
    # Probabilities 3/4 and 1/4; the second token does not count.
    logits = torch.tensor([[[math.log(3.0), 0.0], [9.0, 0.0], [math.log(3.0), 0.0]]])

    found = token_cross_entropy(logits, torch.tensor([[0, -100, 1]]))

    assert found.item() == pytest.approx(math.log(4 / 3) + math.log(4.0), abs=1e-6)


def test_token_kl_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2) at one token; the other is padding.
    teacher = torch.tensor([[[math.log(9.0), 0.0], [NAN, NAN]]])
    student = torch.tensor([[[0.0, 0.0], [5.0, -5.0]]])

    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert token_kl(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-6)


def test_token_kl_is_zero_when_student_equals_teacher():
    logits = torch.tensor([[[1.0, -2.0], [0.5, 3.0]]])

    assert token_kl(logits, logits.clone(), 3.0).tolist() == [0.0]


def token_loss(student, teacher, labels):
    loss = distillation_loss(
        student, teacher, labels, objective=TOKEN_OBJECTIVE, temperature=2.0, alpha=0.5
    )
    counts = torch.stack([count_tokens(teacher), count_tokens(labels)])
    return loss, counts


def test_token_losses_are_divided_by_the_items_of_all_batches_together():
    student, teacher = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, -100, 2, -100], [-100, 0, -100, -100], [3, -100, -100, -100]])
    teacher[1, 2:], teacher[2, 1:] = NAN, NAN

    whole, counts = token_loss(student, teacher, labels)

    first, second = (token_loss(student[s], teacher[s], labels[s]) for s in (slice(1), slice(1, 3)))
    assert counts.tolist() == [7, 4]
    torch.testing.assert_close(first[1] + second[1], counts)
    torch.testing.assert_close(first[0].sum(0) + second[0].sum(0), whole.sum(0))


def test_token_losses_are_blind_to_padding():
    student = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher, labels = student.detach() + 1, torch.tensor([[1, 2, -100]])
    teacher[0, 1, 0], teacher[0, 2] = 3.0, NAN

    token_loss(student, teacher, labels)[0].sum().backward()

    assert student.grad[0, :2].abs().sum() > 0
    assert student.grad[0, 2].tolist() == [0.0] * 5


def test_gradient_of_token_losses_passes_gradcheck():
    student, teacher = torch.randn(
        2, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    teacher[1, 2] = NAN
    labels = torch.tensor([[1, -100, 3], [0, 2, -100]])

    assert gradcheck(lambda x: token_loss(x, teacher, labels)[0], (student.requires_grad_(),))


def test_token_gradient_of_small_logits_does_not_depend_on_the_temperature():
    student, teacher = 1e-3 * STUDENT[None], 1e-3 * TEACHER[None]
    difference = student - teacher
    expected = (difference - difference.mean(dim=-1, keepdim=True)) / 3
    for temperature in (1.0, 5.0):
        logits = student.clone().requires_grad_()
        token_kl(logits, teacher, temperature).sum().backward()
        torch.testing.assert_close(logits.grad, expected, rtol=5e-3, atol=1e-7)


def test_half_precision_token_losses_are_those_of_single_precision():
    student, teacher = STUDENT[None].bfloat16(), TEACHER[None].bfloat16()

    assert torch.equal(token_kl(student, teacher, 2.0), token_kl(student.float(), teacher, 2.0))
    labels = torch.tensor([[2, 0]])
    expected = token_cross_entropy(student.float(), labels)
    assert torch.equal(token_cross_entropy(student, labels), expected)
