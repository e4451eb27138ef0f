import math

import pytest
import torch
import torch.nn.functional as F
from support.tiny_language import make_language_model

from models.losses import count_tokens, token_cross_entropy
from models.next_tokens import (
    LANGUAGE_OBJECTIVE,
    WordHead,
    following_tokens,
    kept_outputs,
    loss_by_chunks,
    read_hidden,
    read_logits,
    tail_kl,
    word_head,
    word_margins,
)
from models.teacher import is_head_parameter
from models.token_layout import FOLLOWING, LIKELIEST, LOG_PROBABILITY, TAIL, WORDS, words_of

NAN = float("nan")


def readings_of(logits, words=None):
    """Return a teacher's readings (B, T, R) of its logits (B, T, V)."""
    flat = logits.flatten(0, 1)
    found = read_logits(flat, torch.zeros(len(flat), dtype=torch.long), words)
    return found.view(*logits.shape[:2], -1).double()


def test_label_is_the_token_that_follows():
    ids = torch.tensor([[5, 6, 7, 0], [0, 0, 8, 9]])
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])

    found = following_tokens(ids, mask)

    assert found.tolist() == [[6, 7, -100, -100], [-100, -100, 9, -100]]


def test_cross_entropy_of_equal_logits_is_log_of_the_vocabulary():
    labels = torch.tensor([[1, 2, -100], [3, -100, -100]])

    found = token_cross_entropy(torch.zeros(2, 3, 4), labels)

    torch.testing.assert_close(found, torch.tensor([2 * math.log(4), math.log(4)]))
    assert count_tokens(labels) == 3


def test_tail_kl_is_the_one_computed_by_hand():
    # The teacher gives 1/2 and 1/4 to the words 0 and 1, and 1/4 to the two others; the student a
    # quarter to each: 1/2 ln 2 + 1/4 ln 1 + 1/4 ln 1/2 = 1/4 ln 2.
    teacher = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 1.0, 0.5, 0.25])
    teacher[TAIL] = math.log(0.25)
    teacher[WORDS + 2 :] = teacher[WORDS + 2 :].log()

    found = tail_kl(torch.zeros(1, 1, 4), teacher[None, None], 1.0)

    torch.testing.assert_close(found, torch.tensor([0.25 * math.log(2)]))


def test_tail_kl_of_all_words_but_one_is_the_whole_divergence():
    generator = torch.Generator().manual_seed(0)
    own, other = (torch.randn(2, 3, 20, generator=generator) for _ in range(2))

    found = tail_kl(own, readings_of(other), 1.0)

    expected = F.kl_div(
        own.log_softmax(-1), other.log_softmax(-1), log_target=True, reduction="none"
    )
    torch.testing.assert_close(found.float(), expected.sum(dim=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_tail_kl_is_zero_where_student_equals_teacher(temperature):
    logits = 3 * torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(0))

    found = tail_kl(logits.requires_grad_(), readings_of(logits.detach()), temperature)

    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert found.abs().max() < 1e-5
    assert gradient.abs().max() < 1e-5


def test_tail_kl_leaves_padding_out():
    generator = torch.Generator().manual_seed(0)
    own, teacher = torch.randn(1, 3, 20, generator=generator), torch.randn(1, 3, 20)
    readings = readings_of(teacher)
    readings[0, 1:] = NAN

    found = tail_kl(own, readings, 1.0)

    torch.testing.assert_close(found, tail_kl(own[:, :1], readings[:, :1], 1.0))
    assert count_tokens(readings) == 1


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    words = torch.tensor([[0, 3], [1, 2]])
    readings = readings_of(torch.randn(1, 2, 9, generator=generator), words)
    labels = torch.tensor([[4, -100]])

    assert torch.autograd.gradcheck(lambda x: tail_kl(x, readings, 2.0), logits)
    assert torch.autograd.gradcheck(lambda x: token_cross_entropy(x, labels), logits)


def test_gradients_scale_hardly_depends_on_the_temperature():
    generator = torch.Generator().manual_seed(0)
    teacher = 0.1 * torch.randn(1, 1, 20, generator=generator)
    own = (teacher + 0.01 * torch.randn(1, 1, 20, generator=generator)).requires_grad_()
    sizes = [
        torch.autograd.grad(tail_kl(own, readings_of(teacher), t).sum(), own)[0].norm()
        for t in (1.0, 2.0, 4.0)
    ]

    assert max(sizes) < 1.1 * min(sizes)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_neither_loss_nor_gradient(chunk):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 8, generator=generator)
    labels = torch.randint(30, (2, 5), generator=generator)
    labels[1, 2:] = -100
    sizes = []

    def logits_of(hidden):
        sizes.append(len(hidden))
        return hidden @ weight.T

    found = []
    for loss in (
        loss_by_chunks(token_cross_entropy, WordHead(apply=logits_of, chunk=chunk)),
        lambda hidden, labels: token_cross_entropy(hidden @ weight.T, labels),
    ):
        hidden = torch.randn(2, 5, 8, generator=generator.manual_seed(1)).requires_grad_()
        total = loss(hidden, labels).sum()
        found.append((total.detach(), torch.autograd.grad(total, hidden)[0]))

    torch.testing.assert_close(found[0], found[1])
    assert max(sizes) == min(chunk, 7)


def test_readings_of_no_token_are_empty_and_padding_is_nan():
    head = WordHead(apply=lambda hidden: hidden.repeat(1, 1, 5), chunk=2)

    found = read_hidden(torch.zeros(1, 3, 4), torch.tensor([[7, -100, -100]]), head)

    assert found.shape == (1, 3, WORDS + 2 * words_of(20))
    assert found[0, 0, FOLLOWING] == 7
    assert found[0, 1:].isnan().all()
    assert read_hidden(torch.zeros(1, 1, 4), torch.tensor([[-100]]), head).isnan().all()


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_readings_are_of_the_logits_that_the_model_gives(model_type):
    model = make_language_model(model_type)
    ids = torch.tensor([[5, 6, 7, 8]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    with torch.no_grad():
        found = kept_outputs(model, LANGUAGE_OBJECTIVE, batch)[0, :3]
        logs = model(**batch).logits[0, :3].log_softmax(-1)

    expected = logs[torch.arange(3), ids[0, 1:]]
    torch.testing.assert_close(found[:, LOG_PROBABILITY], expected)
    assert found[:, LIKELIEST].tolist() == logs.argmax(-1).tolist()


def test_students_readings_are_of_the_teachers_words():
    teacher, student = (make_language_model("llama", seed=seed) for seed in (0, 1))
    ids = torch.tensor([[5, 6, 7, 8]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        said = kept_outputs(teacher, LANGUAGE_OBJECTIVE, batch)

        found = kept_outputs(student, LANGUAGE_OBJECTIVE, batch, said)

    words = slice(WORDS, WORDS + 64)
    assert torch.equal(found[0, :3, words], said[0, :3, words])
    assert not torch.equal(found[0, :3, TAIL], said[0, :3, TAIL])


def test_margins_are_those_of_the_logits_and_so_are_their_gradients():
    model = make_language_model("llama")
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    weight = model.model.layers[0].mlp.down_proj.weight

    found = word_margins(model, batch)

    best = model(**batch).logits.topk(2).values
    expected = (best[..., 0] - best[..., 1]) * batch["attention_mask"]
    gradients = [torch.autograd.grad(each.sum(), weight)[0] for each in (found, expected)]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("is_tied", [True, False])
def test_head_belongs_to_the_backbone(is_tied):
    model = make_language_model("llama", tie_word_embeddings=is_tied)

    assert not any(is_head_parameter(model, name) for name, _ in model.named_parameters())
    assert word_head(model).chunk == 16_000_000 // 200
