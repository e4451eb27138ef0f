"""Stage quantize: variants of the student's ONNX file, of which the fastest good one ships.

The variants are an int8 copy, the graph with fused attention, and an fp16 copy for GPUs. They are
stored beside ``onnx/model.onnx``, which stays as exported. Each CPU variant is compared with the
fp32 student and the teacher on the validation split. A variant that loses too much is refused. The
rest is timed on this machine, because the fastest variant depends on the processor.
``onnx/runtime.json`` names the winner and its session settings.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from pipeline.config import QuantizeConfig
from pipeline.decisions.variant import Quality, judge_variant
from pipeline.errors import InputError
from pipeline.facts.arms import STUDENT, TEACHER, Arm
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.latency import Estimate
from pipeline.facts.variants import QuantizeFacts, Runtime, Variant
from pipeline.graphs.genai import write_genai_config
from pipeline.graphs.int8 import INT8_SESSION, write_int8
from pipeline.graphs.saving import data_of
from pipeline.graphs.variants import FP16_FILE, FP32_FILE, FUSED_FILE, INT8_FILE, VARIANTS
from pipeline.inference.classifier import MODEL, RUNTIME, load_bundle
from pipeline.inference.processor import has_vnni
from pipeline.statistics.bootstrap import Resamples
from pipeline.store.files import link_or_copy, write_atomic
from pipeline.store.stage import RECORD, Stage
from pipeline.tasks.measuring import MeasuredModels
from pipeline.tasks.task import Task
from pipeline.texts.tables import Split, read_split
from pipeline.timing.variants import ratio_to_first, time_variants
from pipeline.timing.workload import own_lengths, smallest_vocabulary, tokenizer_limit

_FP16_TEXTS = 32
"""Number of texts that check the fp16 copy, which a CPU has to emulate."""
_JUDGED = (FP32_FILE, FUSED_FILE, INT8_FILE)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizeSettings:
    """Settings that shape the variants and their choice, beside texts and files."""

    task: Task
    quantize: QuantizeConfig
    seed: int
    machine: dict[str, str]
    """Machine on which the variants are timed."""


def quantize(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    settings: QuantizeSettings,
    out: Path,
) -> QuantizeFacts:
    """Write the student's bundle with all variants to ``out/student``; the winner is the default.

    Raises:
        InputError: when the fp16 copy differs from the fp32 file by more than its tolerance, or
            the precision to ship is refused.
        RuntimeError: when onnxruntime does not quantise every product, or a measurement fails.
    """
    config, bundle = settings.quantize, out / STUDENT
    products = _write_variants(data, exported, config, bundle)
    validation = read_split(data.folder, "validation").head(config.texts)
    teacher = load_bundle(exported.folder / TEACHER).readings(validation.texts)
    outputs = {file: _outputs(bundle, file, validation, teacher) for file in _JUDGED}
    single = outputs[FP32_FILE][:_FP16_TEXTS]
    difference = _check_fp16(bundle, single, validation.head(_FP16_TEXTS), settings)
    measured = MeasuredModels(
        task=settings.task,
        outputs={TEACHER: teacher} | {Arm(file): found for file, found in outputs.items()},
        labels=settings.task.truth(validation.texts, validation.labels),
        samples=Resamples(
            texts=len(validation), count=config.bootstrap_samples, seed=settings.seed
        ),
        confidence=config.confidence,
    )
    judged = {file: _judge(measured, file, config) for file in _JUDGED}
    accepted = {n: w.runtime for n, w in VARIANTS.items() if judged[w.runtime.file].refused is None}
    eligible = _may_ship(accepted, judged, config)
    times = _time(bundle, accepted, validation, config, settings.seed)
    eligible_times = {name: times[name] for name in eligible}
    chosen = choose_variant(
        {name: ratio_to_first(eligible_times, name, config.confidence) for name in eligible}
    )
    write_atomic(bundle / RUNTIME, accepted[chosen].model_dump_json(indent=2))
    if settings.task.continues:
        write_genai_config(bundle, accepted[chosen].file)
    facts = QuantizeFacts(
        texts=len(validation),
        confidence=config.confidence,
        chosen=chosen,
        file=accepted[chosen].file,
        int8_products=products,
        has_vnni=has_vnni(),
        fp16_bytes=(bundle / "onnx" / FP16_FILE).stat().st_size,
        fp16_difference=difference,
        variants=tuple(_describe(name, bundle, judged, times, config) for name in VARIANTS),
    )
    _drop_useless(bundle, facts)
    return facts


def _write_variants(
    data: Stage[DataFacts], exported: Stage[ExportFacts], config: QuantizeConfig, bundle: Path
) -> int:
    """Write the bundle with a file per variant, and return the number of products in 8 bits."""
    if data_of(exported.folder / STUDENT / MODEL).exists():
        raise InputError(
            "quantize: the student's weights are more than the 2 GB that one ONNX file holds. "
            "onnxruntime's tools for its variants need one file. Set quantize.enabled = false."
        )
    shutil.copytree(
        exported.folder / STUDENT,
        bundle,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(RECORD),
        copy_function=link_or_copy,
    )
    products = write_int8(
        bundle / MODEL, bundle / "onnx" / INT8_FILE, _calibration(bundle, data, config)
    )
    _write_fused(bundle)
    _write_fp16(bundle)
    return products


def _judge(measured: MeasuredModels, file: str, config: QuantizeConfig) -> Quality:
    """Compare one file with the fp32 student and the teacher."""
    task = measured.task
    return judge_variant(
        measured.cost(Arm(file), Arm(FP32_FILE), TEACHER),
        measured.fidelity(Arm(file), TEACHER),
        config,
        metric=task.main_metric,
        agreement=task.agreement,
    )


def choose_variant(ratios: Mapping[str, Estimate]) -> str:
    """Return the fastest of the variants that are significantly faster than the first.

    Args:
        ratios: Time of each variant as a multiple of the first one's, with an interval.
    """
    first = next(iter(ratios))
    faster = [name for name, ratio in ratios.items() if ratio.high < 1]
    return min(faster, key=lambda name: ratios[name].value, default=first)


def _may_ship(
    accepted: Mapping[str, Runtime], judged: Mapping[str, Quality], config: QuantizeConfig
) -> list[str]:
    """Return the accepted variants of the precision to ship."""
    eligible = [name for name in accepted if config.ship in ("fastest", VARIANTS[name].precision)]
    if not eligible:
        raise InputError(
            f"quantize.ship is {config.ship}, which is refused. {judged[INT8_FILE].refused} "
            "Raise the limits, or let another precision ship."
        )
    return eligible


def _describe(
    name: str,
    bundle: Path,
    judged: Mapping[str, Quality],
    times: Mapping[str, Sequence[float]],
    config: QuantizeConfig,
) -> Variant:
    file = VARIANTS[name].runtime.file
    ratio = ratio_to_first(times, name, config.confidence) if name in times else None
    return Variant(
        name=name,
        file=file,
        size_bytes=(bundle / "onnx" / file).stat().st_size,
        cost=judged[file].cost,
        fidelity=judged[file].fidelity,
        refused=judged[file].refused,
        cpu_ms=float(np.median(times[name])) if name in times else None,
        cpu_ratio=ratio.value if ratio else None,
        cpu_ratio_interval=(ratio.low, ratio.high) if ratio else None,
    )


def _drop_useless(bundle: Path, facts: QuantizeFacts) -> None:
    """Remove refused files, which other tools would find, and the fused file if it lost."""
    for variant in facts.variants:
        lost = variant.file == FUSED_FILE and facts.file != variant.file
        if variant.refused is not None or lost:
            (bundle / "onnx" / variant.file).unlink(missing_ok=True)


def _calibration(
    bundle: Path, data: Stage[DataFacts], config: QuantizeConfig
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the inputs of training texts one by one, so that none is padded."""
    student = load_bundle(bundle, runtime=Runtime())
    texts = read_split(data.folder, "train").head(config.calibration_texts).texts
    return (inputs for _, inputs in student.batches(texts, batch_size=1))


def _write_fused(bundle: Path) -> None:
    """Write the graph with fused attention, in onnxruntime's own operators."""
    fused, _ = optimize_for_ort(onnx_ir.load(bundle / MODEL), clear_metadata=True)
    onnx_ir.save(fused, bundle / "onnx" / FUSED_FILE)


def _write_fp16(bundle: Path) -> None:
    """Write the fp16 copy, whose outputs stay fp32."""
    half = convert_float_to_float16(onnx.load(bundle / MODEL), keep_io_types=True)
    onnx.save(half, bundle / "onnx" / FP16_FILE)


def _outputs(bundle: Path, file: str, split: Split, teacher: np.ndarray) -> np.ndarray:
    """Return one file's readings text by text, as in requests, of the teacher's words if any."""
    config = INT8_SESSION if file == INT8_FILE else {}
    classifier = load_bundle(bundle, runtime=Runtime(file=file, session_config=config))
    return classifier.readings(split.texts, batch_size=1, title=f"judging {file}", teacher=teacher)


def _check_fp16(
    bundle: Path, single: np.ndarray, split: Split, settings: QuantizeSettings
) -> float:
    """Return the largest difference of an output from the fp32 file's, or refuse the copy."""
    task, config = settings.task, settings.quantize
    half = task.comparable(_outputs(bundle, FP16_FILE, split, single))
    single = task.comparable(single)
    single = single[tuple(map(slice, half.shape))]  # fewer texts may have fewer words
    difference = float(np.nanmax(abs(half - single)))
    tolerance = config.fp16_tolerance * max(1.0, float(np.nanmax(abs(single))))
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
    """Return each variant's CPU time per text by block, in ms."""
    workload = own_lengths(
        bundle,
        split.texts,
        count=config.calls,
        max_length=tokenizer_limit(bundle),
        vocabulary=smallest_vocabulary([bundle]),
    )
    return time_variants(
        bundle, ways, workload, blocks=config.blocks, seconds=config.seconds, seed=seed
    )
