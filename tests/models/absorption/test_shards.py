"""The student does not depend on the number of shards that its texts are read in.

Each shard is a process, forked from this one so that it starts at once, and they talk over gloo.
"""

import copy
import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist

from models.absorption.by_regression import absorb_adapters
from models.absorption.extra_units import widen_ffn
from models.absorption.walk import AbsorptionPlan
from models.adapters.hooks import insert_adapters, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.table import architecture_of

pytestmark = pytest.mark.system

BATCHES = 14


@pytest.fixture
def in_shards(tmp_path):
    """``in_shards(work, count)``: the tensors that ``work(number)`` returns in the first shard."""

    def run(work, number, count, folder):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        meeting = f"file://{folder / 'meeting'}"
        dist.init_process_group("gloo", init_method=meeting, rank=number, world_size=count)
        tensors = work(number)
        if number == 0:
            torch.save(tensors, folder / "tensors")
        dist.barrier()

    def in_shards(work, count):
        if count == 1:
            return work(0)
        folder = tmp_path / f"{count}-shards"
        folder.mkdir()
        context = multiprocessing.get_context("fork")
        given = [(work, number, count, folder) for number in range(count)]
        processes = [context.Process(target=run, args=each) for each in given]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * count
        return torch.load(folder / "tensors")

    return in_shards


@torch.no_grad()
def with_adapters(model):
    teacher = copy.deepcopy(model)
    architecture = architecture_of(model.config.model_type)
    insert_adapters(
        teacher.base_model, architecture, settings_of(kind="houlsby", bottleneck_size=4)
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in teacher.named_parameters():
        if is_adapter_parameter(name):
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return teacher


def first_logit(model, batch, _mask):
    return model(**batch).logits[:, :1]


@pytest.fixture
def absorbed(in_shards, token_batch, tmp_path):
    """``absorbed(student, shards)``: copy of a model that absorbed random adapters."""

    def absorbed(student, shards, extra_units=0):
        architecture = architecture_of(student.config.model_type)
        generator = torch.Generator().manual_seed(1)
        batches = [
            token_batch(
                student, torch.randint(4, 20, (16,), generator=generator).tolist(), seed=seed
            )
            for seed in range(BATCHES)
        ]
        plan = AbsorptionPlan(
            held_out=[number % 5 == 4 for number in range(BATCHES)],
            counting=[architecture.sequence_head.counting(b["attention_mask"]) for b in batches],
            margins=first_logit,
            extra_units=extra_units,
        )

        own = copy.deepcopy(student)
        if extra_units:
            widen_ffn(own, architecture, extra_units)

        def work(number):
            scratch = tmp_path / f"{shards}-{number}-{extra_units}"
            teacher = with_adapters(student)
            absorb_adapters(teacher, own, architecture, batches, plan, scratch=scratch)
            return own.state_dict()

        own.load_state_dict(in_shards(work, shards))
        return own

    return absorbed


@torch.inference_mode()
def largest_difference(one, other, batch):
    return float((one(**batch).logits - other(**batch).logits).abs().max())


@pytest.mark.parametrize(
    ("model_type", "shards"),
    [
        ("bert", 3),
        ("albert", 2),
        *(
            pytest.param(model_type, shards, marks=pytest.mark.slow)
            for model_type in ("bert", "albert", "gpt2", "llama")
            for shards in (4, 5, BATCHES, BATCHES + 2)
        ),
    ],
)
def test_student_of_any_number_of_shards_is_the_same(
    tiny_classifier, absorbed, token_batch, model_type, shards
):
    student = tiny_classifier(model_type)

    one, several = absorbed(student, 1), absorbed(student, shards)

    unseen = token_batch(student, (11, 17), seed=99)
    assert largest_difference(one, student, unseen) > 0.1
    assert largest_difference(one, several, unseen) < 1e-6


@pytest.mark.slow
def test_extra_units_of_any_number_of_shards_are_the_same(tiny_classifier, absorbed, token_batch):
    student = tiny_classifier("bert")

    one, several = absorbed(student, 1, extra_units=8), absorbed(student, 3, extra_units=8)

    unseen = token_batch(student, (11, 17), seed=99)
    assert largest_difference(one, absorbed(student, 4), unseen) > 1e-4
    assert largest_difference(one, several, unseen) < 1e-6
