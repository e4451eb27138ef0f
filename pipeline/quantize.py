"""Stage quantize: variants of the student's ONNX file; the fastest that is good enough ships.

All lie beside ``onnx/model.onnx``, which stays as it was exported: an int8 copy, the graph with
fused attention, and an fp16 copy for GPUs. Each that runs on a CPU is held against the fp32 student
and the teacher on the validation split, and refused where it costs too much; the rest is timed on
this machine, because which one is fastest depends on the processor. ``onnx/runtime.json`` names the
winner and its session settings.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from pipeline.artifacts import RECORD, Stage, link_or_copy, write_atomic
from pipeline.config import QuantizeConfig
from pipeline.errors import InputError
from pipeline.inference import MODEL, RUNTIME, Classifier, Runtime, load_bundle
from pipeline.proof.records import Estimate
from pipeline.proof.workload import own_lengths, tokenizer_limit
from pipeline.quantisation.int8 import INT8_SESSION, has_vnni, write_int8
from pipeline.quantisation.records import QuantizeFacts, Variant
from pipeline.quantisation.variant_quality import hold_against
from pipeline.quantisation.variant_timing import ratio_to_first, time_variants
from pipeline.records import DataFacts, ExportFacts
from pipeline.tables import Split, read_split
from pipeline.task import Task

FP32, FUSED, INT8, FP16 = "fp32", "fused", "int8", "fp16"
_FILES = {
    FP32: "model.onnx",
    FUSED: "model_optimized.onnx",
    INT8: "model_quantized.onnx",
    FP16: "model_fp16.onnx",
}
_FP16_TEXTS = 32
"""Texts of the fp16 copy's check: a CPU has to emulate it."""
# The fused LayerNorm is slower than its parts on some processors.
_WITHOUT_SKIP = ("SkipLayerNormFusion",)
_WAYS = {
    "fp32": (FP32, Runtime()),
    "fp32, less fused": (FP32, Runtime(disabled_optimizers=_WITHOUT_SKIP)),
    "fused": (FUSED, Runtime(file=_FILES[FUSED])),
    "int8": (INT8, Runtime(file=_FILES[INT8], session_config=INT8_SESSION)),
    "int8, less fused": (
        INT8,
        Runtime(file=_FILES[INT8], session_config=INT8_SESSION, disabled_optimizers=_WITHOUT_SKIP),
    ),
}
"""Ways to run the student on a CPU: the file's precision, and how onnxruntime opens it."""


def quantize(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    config: QuantizeConfig,
    out: Path,
    *,
    task: Task,
    seed: int,
) -> QuantizeFacts:
    """Write the student's bundle with all variants to ``out/student``; its winner is the default.

    Raises:
        InputError: when the fp16 copy differs from the fp32 file by more than its tolerance.
        RuntimeError: when onnxruntime does not quantise every product, or a measurement fails.
    """
    bundle = out / "student"
    shutil.copytree(
        exported.folder / "student",
        bundle,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(RECORD),
        copy_function=link_or_copy,
    )
    student = load_bundle(bundle, runtime=Runtime())
    products = write_int8(
        bundle / MODEL, bundle / "onnx" / _FILES[INT8], _calibration(student, data, config)
    )
    _write_fused(bundle)
    _write_fp16(bundle)
    validation = read_split(data.folder, "validation").head(config.texts)
    logits = {name: _logits(bundle, _FILES[name], validation) for name in (FP32, FUSED, INT8)}
    some = validation.head(_FP16_TEXTS)
    difference = _check_fp16(_logits(bundle, _FILES[FP16], some), logits[FP32][: len(some)], config)
    teacher = load_bundle(exported.folder / "teacher").logits(validation.texts)
    judged = {
        name: hold_against(
            logits[name],
            logits[FP32],
            teacher,
            validation.labels,
            config,
            task=task,
            seed=seed,
        )
        for name in (FP32, FUSED, INT8)
    }
    accepted = {name: way for name, (file, way) in _WAYS.items() if judged[file].refused is None}
    times = _time(bundle, accepted, validation, config, seed)
    ratios = {name: ratio_to_first(times, name, config.confidence) for name in accepted}
    chosen = choose(ratios)
    write_atomic(bundle / RUNTIME, accepted[chosen].model_dump_json(indent=2))
    facts = QuantizeFacts(
        texts=len(validation),
        confidence=config.confidence,
        chosen=chosen,
        file=accepted[chosen].file,
        int8_products=products,
        has_vnni=has_vnni(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        fp16_bytes=(bundle / "onnx" / _FILES[FP16]).stat().st_size,
        fp16_difference=difference,
        variants=tuple(
            Variant(
                name=name,
                file=way.file,
                size_bytes=(bundle / "onnx" / way.file).stat().st_size,
                cost=judged[file].cost,
                fidelity=judged[file].fidelity,
                refused=judged[file].refused,
                cpu_ms=float(np.median(times[name])) if name in times else None,
                cpu_ratio=ratios[name].value if name in ratios else None,
                cpu_ratio_interval=(ratios[name].low, ratios[name].high)
                if name in ratios
                else None,
            )
            for name, (file, way) in _WAYS.items()
        ),
    )
    _drop_useless(bundle, facts)
    return facts


def choose(ratios: Mapping[str, Estimate]) -> str:
    """Return the variant with the least time of those that are surely faster than the first.

    Args:
        ratios: Time as a multiple of the first one's, whose own is exactly one.
    """
    first = next(iter(ratios))
    faster = [name for name, ratio in ratios.items() if ratio.high < 1]
    return min(faster, key=lambda name: ratios[name].value, default=first)


def _drop_useless(bundle: Path, facts: QuantizeFacts) -> None:
    """Remove refused files, which other tools would find, and the fused one where it lost."""
    for variant in facts.variants:
        lost = variant.file == _FILES[FUSED] and facts.file != variant.file
        if variant.refused is not None or lost:
            (bundle / "onnx" / variant.file).unlink(missing_ok=True)


def _calibration(
    student: Classifier, data: Stage[DataFacts], config: QuantizeConfig
) -> Iterator[dict[str, np.ndarray]]:
    """Yield training texts one by one, so that none is padded."""
    texts = read_split(data.folder, "train").head(config.calibration_texts).texts
    return (inputs for _, inputs in student.batches(texts, batch_size=1))


def _write_fused(bundle: Path) -> None:
    """Write the graph with fused attention, in onnxruntime's own operators."""
    fused, _ = optimize_for_ort(onnx_ir.load(bundle / MODEL), clear_metadata=True)
    onnx_ir.save(fused, bundle / "onnx" / _FILES[FUSED])


def _write_fp16(bundle: Path) -> None:
    """Write the fp16 copy; its logits stay fp32."""
    half = convert_float_to_float16(onnx.load(bundle / MODEL), keep_io_types=True)
    onnx.save(half, bundle / "onnx" / _FILES[FP16])


def _logits(bundle: Path, file: str, split: Split) -> np.ndarray:
    """Return one file's logits, text by text as requests come."""
    config = INT8_SESSION if file == _FILES[INT8] else {}
    classifier = load_bundle(bundle, runtime=Runtime(file=file, session_config=config))
    return classifier.logits(split.texts, batch_size=1, title=f"judging {file}")


def _check_fp16(half: np.ndarray, single: np.ndarray, config: QuantizeConfig) -> float:
    """Return the largest logit difference; refuse one above the tolerance."""
    difference = float(abs(half - single).max())
    tolerance = config.fp16_tolerance * max(1.0, float(abs(single).max()))
    if not difference <= tolerance:
        raise InputError(
            f"The fp16 copy of the student differs from the fp32 file by {difference:.2e}; "
            f"accepted is {tolerance:.0e}. Raise quantize.fp16_tolerance if the gap is expected, "
            "or set quantize.enabled = false."
        )
    return difference


def _time(
    bundle: Path, ways: Mapping[str, Runtime], split: Split, config: QuantizeConfig, seed: int
) -> dict[str, list[float]]:
    """Return each variant's CPU time of a text by block, in ms."""
    workload = own_lengths(
        bundle,
        split.texts,
        count=config.calls,
        max_length=tokenizer_limit(bundle),
        vocabulary=json.loads((bundle / "config.json").read_text(encoding="utf-8"))["vocab_size"],
    )
    return time_variants(
        bundle, ways, workload, blocks=config.blocks, seconds=config.seconds, seed=seed
    )
