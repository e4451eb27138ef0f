"""Absorption: the adapters' effect, moved into the student's own dense layers in closed form.

Sites are fitted one by one, in forward order. A ridge regression changes a dense layer's weight and
bias. The student's sum before LayerNorm then comes close to the teacher's. The student runs on its
own hidden states, already absorbed up to the site. A later site therefore also corrects the errors
of earlier ones. The fit uses only the inputs and outputs of a site, so it serves every adapter kind
and composition. It also serves layers that the student lacks. A kept layer's FFN takes over the
effect of the skipped layers after it. A neighbour is ReplaceMe (2025,
https://arxiv.org/abs/2505.02819), which fits linear maps of whole blocks. We know of no other fit
of adapters.

Only real tokens enter a fit, never padding. At the last layer, only those enter that the head
reads. Tokens with more effect on the answers weigh more (models/absorption/token_weights.py).
Memory does not depend on the number of texts. Gram matrices are sums. Hidden states and weights of
many texts are stored on disk between two layers. Batches are read one by one, once per layer.

Shapes: B = texts of a batch, T = tokens of a batch that count, D = hidden size, K = inputs of a
dense layer, plus one for its bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel
from transformers.activations import ACT2FN

from models.absorption.extra_units import fit_units, set_units
from models.absorption.fit import (
    Fit,
    empty_grams,
    fit_site,
    of_all_processes,
    set_dense,
    transposed,
)
from models.absorption.layerwise import Side, Spill
from models.absorption.ridge import FIRST_STRENGTH, Gram, solve
from models.absorption.shared_layer import absorb_shared
from models.absorption.token_weights import TokenWeights, token_weights
from models.absorption.walk import (
    AbsorptionPlan,
    LayerGroup,
    Walk,
    Weigh,
    groups_of,
    own_plan,
    teacher_sums,
)
from models.architectures.architecture import Architecture
from models.architectures.heads import all_tokens
from models.processes import count_processes, exchange, own_number, own_part

_SAMPLE = 50_000
"""Most tokens that extra units are fitted to, so that memory stays bounded."""


@torch.no_grad()
def absorb_adapters(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    architecture: Architecture,
    batches: Sequence[BatchEncoding],
    plan: AbsorptionPlan,
    *,
    scratch: Path,
    on_layer: Callable[[], object] = lambda: None,
) -> list[Fit]:
    """Change the student's dense layers, in place, and return the result of each fit.

    Args:
        teacher: Model with adapters, in eval mode.
        student: Model of the backbone's shape, or with some of its layers, in eval mode.
        architecture: Paths of the sites in both models.
        batches: Token ids and masks of unlabelled texts.
        plan: Settings of the absorption.
        scratch: Folder for hidden states that are too many for memory. They take up to 4 bytes per
            token and unit, of four hidden states and the FFN, while this runs.
        on_layer: Function called after each of the student's layers, and after the tokens' weights.

    Raises:
        ValueError: when no batch is held out, when none is left to fit on, or when an activation is
            not finite. Also for extra units of an FFN that can't have them, or with a rank.
    """
    held_out = plan.held_out
    if all(held_out) or not any(held_out):
        raise ValueError("expected batches to fit on and held-out ones, found one kind only")
    if plan.rank is not None and plan.extra_units:
        raise ValueError("expected extra units or changes of a low rank, found both")
    batches, plan = own_part(batches), own_plan(plan)
    weights = None
    if plan.margins is not None:
        weights = token_weights(
            teacher,
            architecture,
            batches,
            plan.margins,
            seed=plan.seed,
            scratch=scratch / "weights",
            counting=plan.counting,
        )
        on_layer()
    if architecture.shared_layers:
        fits = absorb_shared(
            teacher, student, architecture, batches, weights, held_out=plan.held_out, rank=plan.rank
        )
        on_layer()
        return fits
    walk = _start(teacher, student, architecture, batches, plan, weights, scratch=scratch)
    fits = []
    groups = groups_of(architecture.layers(teacher.base_model), plan.kept)
    layers = architecture.layers(student.base_model)
    for number, (group, layer) in enumerate(zip(groups, layers, strict=True)):
        fits += _absorb_layer(number, group, layer, walk, before=fits)
        on_layer()
    return fits


def _start(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    architecture: Architecture,
    batches: Sequence[BatchEncoding],
    plan: AbsorptionPlan,
    weights: TokenWeights | None,
    *,
    scratch: Path,
) -> Walk:
    """Return the walk in front of the first layers."""
    real, counting, sums, middle, inputs = (
        Spill(scratch / name, student.device)
        for name in ("real", "counting", "sums", "middle", "inputs")
    )
    for index, batch in enumerate(batches):
        real.write(index, all_tokens(batch["attention_mask"]))
        if plan.counting is not None:
            counting.write(index, plan.counting[index])
    return Walk(
        teacher=Side(teacher, architecture, scratch / "teacher"),
        student=Side(student, architecture, scratch / "student"),
        architecture=architecture,
        batches=batches,
        plan=plan,
        weights=weights,
        real=real,
        counting=real if plan.counting is None else counting,
        sums=sums,
        middle=middle,
        inputs=inputs,
        activation=ACT2FN[getattr(student.config, architecture.activation_setting)],
    )


def _absorb_layer(
    number: int, group: LayerGroup, layer: nn.Module, walk: Walk, *, before: Sequence[Fit]
) -> list[Fit]:
    """Fit a layer's two sites, and move all batches to the layer's output."""
    architecture = walk.architecture
    attention = architecture.dense(layer, "attention")
    ffn_output = architecture.dense(layer, "ffn")
    # The student's LayerNorm must give the output of the group's last LayerNorm.
    last_norm, norm = (architecture.norm_after(of, "ffn") for of in (group.layers[-1], layer))
    if last_norm is not None and norm is not None:
        for name, parameter in norm.named_parameters():
            parameter.copy_(last_norm.get_parameter(name))
    is_last = layer is architecture.layers(walk.student.model.base_model)[-1]
    counting = walk.counting if is_last else walk.real

    grams = empty_grams(attention)
    weigh = partial(walk.weigh, (group.first + group.kept, "attention"), counting)
    for index, batch in enumerate(walk.batches):
        counts = counting.read(index)
        sums = teacher_sums(group, walk.teacher.enter(index, batch), counts, walk, index)
        run = walk.student.enter(index, batch)
        inputs = run.attention(layer, attention)[counts]
        # The dense layer adds to the layer's own input.
        grams[walk.plan.held_out[index]].add(inputs, sums - run.hidden[counts], weigh(index))
        walk.inputs.write(index, inputs)
        walk.student.hidden.write(index, run.hidden)
    grams = of_all_processes(grams, attention)
    fits = [fit_site(attention, grams, number, "attention", before, rank=walk.plan.rank)]

    for index in range(len(walk.batches)):
        residual = walk.student.hidden.read(index)[counting.read(index)]
        total = attention(walk.inputs.read(index)) + residual
        walk.middle.write(index, architecture.after(layer, "attention", total))
    weigh = partial(walk.weigh, (group.first + len(group.layers) - 1, "ffn"), counting)
    fits.append(_fit_ffn(number, layer, walk, weigh, before=[*before, *fits]))

    for index in range(len(walk.batches)):
        total = ffn_output(walk.inputs.read(index)) + walk.middle.read(index)
        hidden = architecture.after(layer, "ffn", total)
        walk.student.hidden.write(index, _at(counting.read(index), hidden))
    return fits


def _at(counts: Tensor, values: Tensor) -> Tensor:
    """Return (B, tokens, D) with values (T, D) at the tokens that count, and zero elsewhere."""
    everywhere = values.new_zeros(*counts.shape, values.shape[-1])
    everywhere[counts] = values
    return everywhere


def _fit_ffn(
    number: int,
    layer: nn.Module,
    walk: Walk,
    weigh: Weigh,
    *,
    before: Sequence[Fit],
) -> Fit:
    """Fit the FFN's output, together with extra units where the plan has some."""
    dense = walk.architecture.dense(layer, "ffn")
    gram = walk.ffn_gram(layer, weigh)
    if not walk.plan.extra_units:
        return fit_site(dense, gram, number, "ffn", before, rank=walk.plan.rank)
    missing = gram[True].sums(transposed(dense)).ee
    if _fit_extra_units(layer, dense, gram, walk, weigh):
        gram = walk.ffn_gram(layer, weigh)
    left = gram[True].sums(transposed(dense)).ee
    fit = fit_site(dense, gram, number, "ffn", before)
    return replace(fit, r2=1 - (1 - fit.r2) * left / missing) if missing else fit


def _fit_extra_units(
    layer: nn.Module, dense: nn.Module, gram: dict[bool, Gram], walk: Walk, weigh: Weigh
) -> bool:
    """Fit the extra units to the error of a regression without the held-out tokens.

    The dense layer then has that regression's solution, from which a fit of all units continues.
    """
    unchanged = transposed(dense)
    solution = solve(gram[False].sums(unchanged), gram[True].sums(unchanged), first=FIRST_STRENGTH)
    if solution is not None:
        set_dense(dense, unchanged + solution.without_held_out)
    units = fit_units(
        *_left_over(dense, walk, weigh),
        activation=walk.activation,
        units=walk.plan.extra_units,
        seed=walk.plan.seed,
    )
    if units is None:
        set_dense(dense, unchanged)
        return False
    set_units(layer, walk.architecture, *units)
    return True


def _left_over(dense: nn.Module, walk: Walk, weigh: Weigh) -> tuple[Tensor, ...]:
    """Return FFN inputs, errors of the output and weights, of some tokens not held out."""
    per_batch = -(-_SAMPLE // sum(exchange(len(walk.batches))))
    found = {}
    for index, held_out in enumerate(walk.plan.held_out):
        if not held_out:
            middle, weights = walk.middle.read(index), weigh(index)
            number = own_number() + index * count_processes()  # among the batches of all processes
            rng = torch.Generator().manual_seed(walk.plan.seed + number)
            rows = torch.randperm(len(middle), generator=rng)[:per_batch]
            total = dense(walk.inputs.read(index)[rows]) + middle[rows]
            found[number] = (
                middle[rows],
                walk.sums.read(index)[rows] - total,
                middle.new_ones(len(rows)) if weights is None else weights[rows],
            )
    device = walk.student.model.device
    of_all = {number: batch for part in exchange(found) for number, batch in part.items()}
    in_order = (of_all[number] for number in sorted(of_all))
    return tuple(
        torch.cat([each.to(device) for each in kind]) for kind in zip(*in_order, strict=True)
    )
