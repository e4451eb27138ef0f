"""Error of a student in 8 bits, its origin, and the recipes that remove it.

Reads a finished run's data and ONNX files, and makes int8 copies of the student by different
recipes. Compares their logits with the fp32 student's and the teacher's, on training texts that the
calibration has not seen. Then times some of them, interleaved, one text at a time. Rows go to a
JSON file and to the terminal.

    python -m benchmarks.quantisation runs/latest --out docs/quantisation.json
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnx import ModelProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from pipeline.facts.variants import Runtime
from pipeline.graphs.int8 import INT8_SESSION, write_int8
from pipeline.graphs.smoothing import scale_tokens, smooth_channels, smoothable, weighted_products
from pipeline.inference.classifier import MODEL, Classifier, load_bundle
from pipeline.inference.session import open_session
from pipeline.store.files import write_atomic
from pipeline.tasks.classification import CLASSIFICATION as TASK
from pipeline.texts.tables import Split, read_split
from pipeline.timing.machine import describe_machine
from pipeline.timing.variants import ratio_to_first, time_variants
from pipeline.timing.workload import own_lengths, tokenizer_limit

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A student, and a folder of copies of it."""

    source: Path
    folder: Path
    """A bundle; the copies are in its ``onnx``."""
    student: Classifier
    calibration: Split
    texts: Split
    fp32: np.ndarray
    teacher: np.ndarray

    def feeds(self) -> Iterable[dict[str, np.ndarray]]:
        """Yield the calibration texts, one by one."""
        return (inputs for _, inputs in self.student.batches(self.calibration.texts, batch_size=1))

    def compare(self, name: str, file: str, *, exact: bool = True) -> Row:
        """Return how close a copy's logits are."""
        runtime = Runtime(file=file, session_config=INT8_SESSION if exact else {})
        logits = load_bundle(self.folder, runtime=runtime, threads=1).outputs(
            self.texts.texts, batch_size=1
        )
        to_student = TASK.fidelity(logits, self.fp32)
        to_teacher = TASK.fidelity(logits, self.teacher)
        row: Row = {
            "recipe": name,
            "size_bytes": (self.folder / "onnx" / file).stat().st_size,
            "kl_to_fp32": to_student["mean_kl"],
            "agreement_with_fp32": to_student["agreement"],
            "kl_to_teacher": to_teacher["mean_kl"],
            "agreement_with_teacher": to_teacher["agreement"],
        }
        print(
            f"| {name} | {row['size_bytes'] / 1e6:.1f} | {row['kl_to_fp32']:.5f} | "
            f"{row['agreement_with_fp32']:.2%} | {row['kl_to_teacher']:.5f} | "
            f"{row['agreement_with_teacher']:.2%} |",
            flush=True,
        )
        return row


def main(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="JSON file for the rows.")],
    texts: Annotated[int, typer.Option(help="Training texts to compare on.")] = 600,
    calibration: Annotated[int, typer.Option(help="Training texts to calibrate on.")] = 256,
    blocks: Annotated[int, typer.Option(help="Blocks of the timing.")] = 10,
) -> None:
    """Compare recipes of int8 on a finished run's student."""
    logging.getLogger().setLevel(logging.ERROR)
    train = read_split(run / "data", "train")
    unseen = Split(texts=train.texts[-texts:], labels=train.labels[-texts:])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        shutil.copytree(run / "export" / "student", folder)
        student = load_bundle(folder, runtime=Runtime(), threads=1)
        study = Study(
            source=folder / MODEL,
            folder=folder,
            student=student,
            calibration=train.head(calibration),
            texts=unseen,
            fp32=student.outputs(unseen.texts, batch_size=1),
            teacher=load_bundle(run / "export" / "teacher", threads=1).outputs(unseen.texts),
        )
        rows = [study.compare("fp32", "model.onnx"), *_recipes(study)]
        shutil.copy2(run / "export" / "teacher" / MODEL, folder / "onnx" / "teacher.onnx")
        times = _times(study, read_split(run / "data", "test"), blocks)
    result = {"machine": describe_machine(), "texts": texts, "rows": rows, "times": times}
    write_atomic(out, json.dumps(result, indent=2))


def _recipes(study: Study) -> list[Row]:
    """Make and compare every copy."""
    onnx_folder = study.folder / "onnx"
    largest = _largest(study)
    rows = []

    def add(
        name: str,
        file: str,
        changes: Sequence[Callable[[ModelProto], None]] = (),
        *,
        nodes: Callable[[ModelProto], Sequence[str]] = lambda model: list(weighted_products(model)),
        exact: bool = True,
        **options: Any,
    ) -> None:
        model = onnx.load(study.source)
        for change in changes:
            change(model)
        quantize_dynamic(
            model,
            onnx_folder / file,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=list(nodes(model)),
            **options,
        )
        rows.append(study.compare(name, file, exact=exact))

    for bits in (8, 7):
        model = onnx.load(study.source)
        _round_weights(model, bits)
        onnx.save(model, onnx_folder / "weights.onnx")
        rows.append(study.compare(f"weights alone in {bits} bits", "weights.onnx"))
    for site in ("attention's input", "attention's output", "FFN's input", "FFN's output"):
        add(f"{site} alone", "site.onnx", nodes=partial(_at_site, site))
    quantize_dynamic(
        study.source,
        onnx_folder / "plain.onnx",
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    rows.append(study.compare("plain: all of it, the tables too", "plain.onnx"))
    rows.append(study.compare("plain, inexact sums", "plain.onnx", exact=False))
    add("all products", "products.onnx")
    add("all products, 7-bit weights", "range.onnx", exact=False, reduce_range=True)

    def smooth(model: ModelProto) -> None:
        smooth_channels(model, largest)

    add("all, FFN's output in fp32", "without.onnx", nodes=_without_ffn_output)
    add("all, channels smoothed", "smooth.onnx", [smooth])
    add("all, tokens scaled", "tokens.onnx", [scale_tokens])
    add("all, both", "both.onnx", [smooth, scale_tokens])
    write_int8(study.source, onnx_folder / "product.onnx", iter(study.feeds()))
    rows.append(study.compare("all, both, word table by rows (the product)", "product.onnx"))
    rows.append(study.compare("the product, inexact sums", "product.onnx", exact=False))
    return rows


def _largest(study: Study) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each channel at every smoothable place."""
    model = onnx.load(study.source)
    names = smoothable(model)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    onnx.save(model, study.folder / "onnx" / "watched.onnx")
    session = open_session(Runtime(file="watched.onnx"), study.folder, threads=1)
    runs = [session.run(list(names), feed) for feed in study.feeds()]
    return {
        name: np.max(
            [abs(run[i]).reshape(-1, run[i].shape[-1]).max(axis=0) for run in runs], axis=0
        )
        for i, name in enumerate(names)
    }


def _round_weights(model: ModelProto, bits: int) -> None:
    """Round the products' weights, one scale per output, and keep them as fp32."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    levels = 2 ** (bits - 1) - 1
    for node in weighted_products(model).values():
        matrix = numpy_helper.to_array(weights[node.input[1]])
        scale = abs(matrix).max(axis=0, keepdims=True) / levels
        rounded = (np.round(matrix / scale) * scale).astype(np.float32)
        weights[node.input[1]].CopyFrom(numpy_helper.from_array(rounded, node.input[1]))


def _sites(model: ModelProto) -> dict[str, list[str]]:
    """Return the products' names by where they stand in a layer."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    normalised = set(smoothable(model))
    found: dict[str, list[str]] = {}
    for name, node in weighted_products(model).items():
        inputs, outputs = shapes[node.input[1]]
        if inputs == outputs:
            site = "attention's input" if node.input[0] in normalised else "attention's output"
        else:
            site = "FFN's input" if inputs < outputs else "FFN's output"
        found.setdefault(site, []).append(name)
    return found


def _at_site(site: str, model: ModelProto) -> list[str]:
    return _sites(model)[site]


def _without_ffn_output(model: ModelProto) -> list[str]:
    return [
        name for site, names in _sites(model).items() if site != "FFN's output" for name in names
    ]


def _times(study: Study, test: Split, blocks: int) -> list[Row]:
    """Time the teacher, the fp32 student and its copies on the test texts' lengths."""
    less = ("SkipLayerNormFusion",)
    ways = {
        "teacher": Runtime(file="teacher.onnx"),
        "fp32": Runtime(),
        "plain int8": Runtime(file="plain.onnx"),
        "int8, FFN's output in fp32": Runtime(file="without.onnx", session_config=INT8_SESSION),
        "the product": Runtime(file="product.onnx", session_config=INT8_SESSION),
        "the product, less fused": Runtime(
            file="product.onnx", session_config=INT8_SESSION, disabled_optimizers=less
        ),
    }
    workload = own_lengths(
        study.folder,
        test.texts,
        count=8,
        max_length=tokenizer_limit(study.folder),
        vocabulary=study.student.tokenizer.get_vocab_size(),
    )
    times = time_variants(study.folder, ways, workload, blocks=blocks, seconds=600, seed=0)
    rows = []
    for name in ways:
        ratio = ratio_to_first(times, name, 0.95)
        milliseconds = float(np.median(times[name]))
        rows.append(
            {
                "variant": name,
                "cpu_ms": milliseconds,
                "ratio": ratio.value,
                "interval": (ratio.low, ratio.high),
            }
        )
        interval = f"({ratio.low:.3f} to {ratio.high:.3f})"
        print(f"| {name} | {milliseconds:.2f} | {ratio.value:.3f} {interval} |")
    return rows


if __name__ == "__main__":
    typer.run(main)
