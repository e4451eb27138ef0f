"""The whole chain as one Prefect flow: from texts to a gated ONNX student."""

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from flows.artifacts import show_report
from flows.release import release_student
from flows.stages import (
    absorb_stage,
    benchmark_stage,
    data_stage,
    distill_stage,
    evaluate_stage,
    export_stage,
    find_model,
    finetune_stage,
    head_only_stage,
    import_stage,
    quantize_stage,
    soft_targets_stage,
)
from pipeline.artifacts import Store
from pipeline.config import AdapterSource, RunConfig
from pipeline.gate import decide
from pipeline.publish import Finished, publish
from pipeline.task import SINGLE_LABEL

STAGES = ".stages"
"""Folder of finished stages, inside ``runs_dir``."""


@flow(name="adapter-to-student", flow_run_name="{config.name}", validate_parameters=True)
def adapter_to_student(config: RunConfig) -> Path:
    """Fine-tune adapters, distil them into an adapter-free student, export, measure, decide.

    Adapters that were trained elsewhere are imported instead of fine-tuned.

    A student that the gate refuses is a completed run with a verdict, not a failure.

    Args:
        config: What to run.
    """
    store = Store(root=config.runs_dir / STAGES)
    backbone = find_model(config.teacher)
    data = data_stage(store, config)
    head_only = head_only_stage(store, config, data, backbone)
    teacher = (
        import_stage(store, config, data, backbone)
        if isinstance(config.teacher.adapter, AdapterSource)
        else finetune_stage(store, config, data, head_only, backbone)
    )
    pretrained = find_model(config.student.model) if config.student.model else backbone
    # Only a student of the backbone's own layers has the sites that absorb.
    absorbed = (
        absorb_stage(store, config, data, teacher, backbone)
        if config.absorb.enabled and config.student.model is None
        else None
    )
    targets = soft_targets_stage(store, config, data, teacher, backbone)
    student = distill_stage(store, config, data, teacher, targets, absorbed, pretrained)
    exported = export_stage(store, config, data, head_only, teacher, student, backbone)
    quantized = quantize_stage(store, config, data, exported) if config.quantize.enabled else None
    evaluation = evaluate_stage(store, config, data, exported, quantized)
    latency = benchmark_stage(store, config, data, teacher, exported, quantized, backbone)
    decision = decide(
        evaluation.facts, latency.facts, config.gate, main_metric=SINGLE_LABEL.main_metric
    )
    finished = Finished(
        data=data,
        head_only=head_only,
        teacher=teacher,
        absorbed=absorbed,
        student=student,
        exported=exported,
        quantized=quantized,
        evaluation=evaluation,
        benchmark=latency,
        others=(targets,),
    )
    folder = publish(config, finished, decision)
    show_report(folder)
    if config.release.register_run:
        release_student(config, folder)
    get_run_logger().info("%s: %s", "passed" if decision.passed else "refused", folder)
    return folder
