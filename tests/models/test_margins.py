import torch

from models.margins import best_margin, span_margins, token_margins


def test_margins_are_of_the_tokens_that_count():
    begins = torch.tensor([1.0, 9.0, 4.0, 2.0])
    logits = torch.stack([begins, -begins], dim=-1)[None]

    found = span_margins(logits, torch.tensor([[1, 0, 1, 1]]))

    assert found.tolist() == [[2.0, 1.0]]
    assert span_margins(logits, torch.tensor([[1, 0, 0, 0]])).tolist() == [[0.0, 0.0]]


def test_margin_of_a_class_is_to_the_next_one():
    logits = torch.tensor([[1.0, 4.0, 2.0]])

    assert best_margin(logits, torch.ones(1, 1)).tolist() == [[2.0]]


def test_padding_has_no_margin():
    logits = torch.tensor([[[1.0, 4.0], [9.0, 2.0]]])

    assert token_margins(logits, torch.tensor([[1, 0]])).tolist() == [[3.0, 0.0]]
