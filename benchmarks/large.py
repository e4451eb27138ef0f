"""Memory of the absorption and the export of a decoder, as multiples of its weights.

    python -m benchmarks.large [layers] [hidden]

A Llama of random weights in bf16, in several files as large checkpoints are, with Houlsby adapters.
Absorption of 24 short texts and the export of the student each run in a process of their own. Its
peak, without Python and the libraries, is divided by the weights in float32. The bar is 3.
"""

import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from benchmarks.gpu import ADAPTER, LABELS, write_tokenizer
from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import add_adapters, save_teacher
from pipeline.checkpoints.weights import load_model
from pipeline.config import AbsorbConfig, ExportConfig, ModelConfig
from pipeline.facts.arms import STUDENT
from pipeline.facts.compute import Compute
from pipeline.graphs.trace import Traced, write_graph
from pipeline.stages.absorb import AbsorbSettings, absorb_teacher
from pipeline.tasks.classification import CLASSIFICATION

WORDS, TEXTS, TOKENS, MAX_LENGTH = 4_000, 24, 24, 32
BAR = 3.0


def make_context(folder: Path) -> ModelContext:
    """Return a folder's backbone, for a classification on the CPU."""
    return ModelContext(
        backbone=find_checkpoint(ModelConfig(model=str(folder))),
        task=CLASSIFICATION,
        max_length=MAX_LENGTH,
        seed=0,
        compute=Compute(),
    )


def make_teacher(folder: Path, layers: int, hidden: int) -> int:
    """Write a backbone and a teacher of it below a folder; return the weights' bytes in float32."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{number}" for number in range(WORDS))]
    backbone, teacher = folder / "backbone", folder / "teacher"
    write_tokenizer(words, backbone)
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            intermediate_size=hidden * 11 // 4,
            max_position_embeddings=512,
            pad_token_id=0,
        )
    )
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    model.bfloat16().save_pretrained(backbone, max_shard_size="100MB")
    context = make_context(backbone)
    adapted = load_model(context.backbone, OBJECTIVE, labels=LABELS)
    add_adapters(adapted, ADAPTER)
    with torch.no_grad():  # new adapters are the identity: give them something to do
        for name, parameter in adapted.named_parameters():
            if "adapter" in name and parameter.ndim > 1:
                parameter.normal_(std=0.02)
    teacher.mkdir()
    save_teacher(adapted, teacher, context=context, labels=LABELS, adapter=ADAPTER)
    return size


def absorb(folder: Path) -> None:
    """Absorb some texts."""
    rng = np.random.default_rng(0)
    words = [f"word{number}" for number in range(WORDS)]
    texts = [(" ".join(rng.choice(words, size=TOKENS)),) for _ in range(TEXTS)]
    settings = AbsorbSettings(
        context=make_context(folder / "backbone"), absorb=AbsorbConfig(batch_size=8), layers=None
    )
    (folder / "student").mkdir()
    absorb_teacher(texts, folder / "teacher", settings, folder / "student")


def export(folder: Path) -> None:
    """Export the absorbed student, compared with torch."""
    model = load_model(make_context(folder / "student").backbone, OBJECTIVE, labels=LABELS)
    traced = Traced(
        model=model, name=STUDENT, output_names=OBJECTIVE.output_names, max_length=MAX_LENGTH
    )
    write_graph(traced, folder / "onnx" / "model.onnx", ExportConfig())


def peak_of(work: Callable[[], object]) -> int:
    """Return how many bytes a work takes at its peak, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(work, theirs))
    process.start()
    theirs.close()
    try:
        found: int = ours.recv()
    finally:
        process.join()
    return found


def _measure(work: Callable[[], object], pipe: "multiprocessing.connection.Connection") -> None:
    before = status_bytes("VmRSS")
    work()
    pipe.send(status_bytes("VmHWM") - before)


def status_bytes(name: str) -> int:
    """Return a number of this process's memory, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition(f"{name}:")[2].split()[0])


def measure(layers: int, hidden: int) -> dict[str, float]:
    """Return the weights in bytes, and the peaks as multiples of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_teacher(folder, layers, hidden)
        peaks = {each.__name__: peak_of(partial(each, folder)) / size for each in (absorb, export)}
        return {"weights": float(size)} | peaks


def main() -> None:
    """Measure a decoder, and print a line for each part."""
    given = [int(each) for each in sys.argv[1:]]
    layers, hidden = (*given, *(8, 1024)[len(given) :])
    found = measure(layers, hidden)
    print(f"weights in float32: {found['weights'] / 1024**3:.2f} GiB")
    for name in ("absorb", "export"):
        print(f"{name}: {found[name]:.2f} times the weights at its peak (bar {BAR})")


if __name__ == "__main__":
    main()
