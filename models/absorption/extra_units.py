"""A few more FFN units per layer, fitted to the error of a linear regression.

The effect of a bottleneck adapter is not linear in the FFN's units. Units of the FFN's own kind,
with free input weights, come closer. The price is a wider FFN in every layer. The FFN grows as in
Net2Net (Chen et al., 2016, https://arxiv.org/abs/1511.05641), without a change of the logits.

The hidden states are not whitened before training. With 48 units, whitening changed R² on unseen
tokens by -0.01 to 0.04 on synthetic spectra. On hidden states of MiniLM it changed R² by -0.05.

Shapes: N = tokens, B = tokens of a batch, D = hidden size, F = FFN units, U = new units.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.absorption.ridge import FIRST_STRENGTH, Gram, solve
from models.architectures.architecture import Architecture
from models.architectures.dense import Dense, replace_tensors, weight_of

_BATCH = 1024
_LEARNING_RATE = 1e-2
_HELD_OUT = 0.1


@torch.no_grad()
def widen_ffn(student: PreTrainedModel, architecture: Architecture, units: int) -> None:
    """Give every FFN of a model more units without effect, in place and in its config.

    All weights of the new units are zero. Gradients never move them, but `set_units` does.
    Precision, device and ``requires_grad`` stay.

    Raises:
        ValueError: for less than one unit, an FFN whose units are products (GLU), or layers that
            are run several times.
    """
    if architecture.gated:
        raise ValueError("the FFN's units are products of two dense layers: they can't be fitted")
    if architecture.shared_layers:
        raise ValueError("one layer is run several times: its units can't be fitted to each run")
    if units < 1:
        raise ValueError(f"expected at least one unit to widen by, found {units}")
    for layer in architecture.layers(student.base_model):
        for path, rows, columns in (
            (architecture.ffn_input, units, 0),
            (architecture.ffn_output, 0, units),
        ):
            module = layer.get_submodule(path)
            dense = Dense.of(module)
            wide = nn.functional.pad(dense.weight, (0, columns, 0, rows))  # (F + U, D), (D, F + U)
            replace_tensors(module, Dense(wide, nn.functional.pad(dense.bias, (0, rows))))
    name = architecture.ffn_size_setting
    setattr(student.config, name, architecture.ffn_size(student.base_model))


def fit_units(
    hidden: Tensor,
    error: Tensor,
    weights: Tensor | None = None,
    *,
    activation: Callable[[Tensor], Tensor],
    units: int,
    seed: int,
    steps: int = 400,
) -> tuple[Dense, Dense] | None:
    """Return units with the least weighted mean ``|error - W_out f(W_in h + b_in) - b_out|**2``.

    Adam trains ``W_in`` (U, D) and ``b_in``. Then ``W_out`` (D, U) and ``b_out`` are a ridge
    regression in float64. Returns None where the units explain nothing of held-out tokens. Both
    layers are float32, on the device of the hidden states. torch's own random state is not touched.

    Args:
        hidden: Inputs of the FFN, (N, D).
        error: Errors at the FFN's output, (N, D).
        weights: Weight of each token, (N,), with a mean of about one; by default, all weigh the
            same.
        activation: Activation function of the FFN.
        units: Number of units, U.
        seed: Seed of the first input weights, the batches and the choice of held-out tokens.
        steps: Number of steps of Adam.

    Raises:
        ValueError: for fewer than two tokens, or when a value is not finite.
    """
    if len(hidden) < 2:
        raise ValueError(f"expected at least two tokens to fit units to, found {len(hidden)}")
    if not (hidden.isfinite().all() and error.isfinite().all()):
        raise ValueError("expected finite hidden states and errors to fit units to")
    hidden, error = hidden.float(), error.float()
    weights = hidden.new_ones(len(hidden)) if weights is None else weights.float()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(hidden), generator=generator)
    held_out, training = order.tensor_split([max(1, round(_HELD_OUT * len(order)))])
    ffn_input = _train_inputs(
        hidden[training],
        error[training],
        weights[training],
        activation=activation,
        units=units,
        steps=steps,
        generator=generator,
    )
    grams = []
    for rows in (training, held_out):
        gram = Gram()
        for some in rows.split(8192):
            given = activation(hidden[some] @ ffn_input.weight.T + ffn_input.bias)
            gram.add(given, error[some], weights[some])
        grams.append(gram.sums())
    solution = solve(*grams, first=FIRST_STRENGTH)
    if solution is None:
        return None
    change = solution.change.to(hidden)
    return ffn_input, Dense(change[:-1].T.contiguous(), change[-1])


@torch.no_grad()
def set_units(
    layer: nn.Module, architecture: Architecture, ffn_input: Dense, ffn_output: Dense
) -> None:
    """Replace the last units of a widened layer, in place.

    Args:
        layer: Layer of a model that `widen_ffn` widened by at least U.
        architecture: Path of the layer's FFN.
        ffn_input: Weight (U, D) and bias of the first dense layer.
        ffn_output: Weight (D, U) and bias of the last one. The bias is added to the FFN output's.
    """
    units = len(ffn_input.bias)
    first, second = (
        layer.get_submodule(path) for path in (architecture.ffn_input, architecture.ffn_output)
    )
    weight_of(first)[-units:] = ffn_input.weight
    weight_of(second)[:, -units:] = ffn_output.weight
    first.get_parameter("bias")[-units:] = ffn_input.bias
    bias = second.get_parameter("bias")
    bias.add_(ffn_output.bias.to(bias))


@torch.enable_grad()
def _train_inputs(
    hidden: Tensor,
    error: Tensor,
    weights: Tensor,
    *,
    activation: Callable[[Tensor], Tensor],
    units: int,
    steps: int,
    generator: torch.Generator,
) -> Dense:
    """Return input weights (U, D) and biases, trained together with output weights."""
    scale = error.square().mean().sqrt().clamp_min(1e-12)
    # Each unit's input starts with a variance of about one.
    spread = hidden.var(dim=0, correction=0).sum().sqrt().clamp_min(1e-6)
    weight = torch.randn(units, hidden.shape[1], generator=generator).to(hidden) / spread
    bias = -(weight @ hidden.mean(dim=0))
    output = hidden.new_zeros(hidden.shape[1], units)
    parameters = [tensor.requires_grad_() for tensor in (weight, bias, output)]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for _ in range(steps):
        rows = torch.randint(len(hidden), (min(_BATCH, len(hidden)),), generator=generator)
        given = activation(hidden[rows] @ weight.T + bias) @ output.T  # (B, D)
        gap = (given - error[rows] / scale).square().mean(dim=1)  # (B,)
        loss = (gap * weights[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Dense(weight.detach(), bias.detach())
