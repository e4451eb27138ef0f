"""Fixtures: bundles and finished runs without a model behind them, and a registry."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
from support.report_document import document
from support.report_facts import data as data_facts
from support.report_facts import evaluation, measured, outcome, student
from support.tiny_models import BAD, GOOD, NEUTRAL, SPECIAL


@pytest.fixture(scope="session")
def write_words_bundle() -> Callable[..., Path]:
    """``write_words_bundle(folder, seed=0, kind="texts")``: an unsealed bag-of-words bundle.

    It is a classifier of texts, one that finds entities of one word, or one that answers questions.
    """

    def write_words_bundle(
        folder: Path, *, seed: int = 0, kind: Literal["texts", "entities", "answers"] = "texts"
    ) -> Path:
        import numpy as np
        from onnx import TensorProto, checker, helper, numpy_helper, save
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        words = [*SPECIAL, *GOOD.split(), *BAD.split(), *NEUTRAL.split()]
        tokenizer = Tokenizer(
            models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        table = np.random.default_rng(seed).normal(size=(len(words), 2)).astype(np.float32)
        ids = ("batch", "seq")
        outputs: dict[str, tuple[object, ...]] = {"logits": ("batch", 2)}
        nodes = [helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0)]
        if kind == "entities":
            outputs = {"logits": (*ids, 2)}
            nodes = [helper.make_node("Identity", ["kept"], ["logits"])]
        elif kind == "answers":
            outputs = dict.fromkeys(("start_logits", "end_logits"), ids)
            nodes = [
                helper.make_node("Gather", ["kept", f"column {at}"], [name], axis=2)
                for at, name in enumerate(outputs)
            ]
        graph = helper.make_graph(
            [
                helper.make_node("Gather", ["table", "input_ids"], ["rows"]),  # (B, T, C)
                helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
                helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
                helper.make_node("Mul", ["rows", "wide"], ["kept"]),
                *nodes,
            ],
            "bag-of-words",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ids)
                for name in ("input_ids", "attention_mask")
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in outputs.items()
            ],
            [
                numpy_helper.from_array(table, "table"),
                numpy_helper.from_array(np.array([2]), "last"),
                numpy_helper.from_array(np.array([1]), "middle"),
                *(numpy_helper.from_array(np.array(at), f"column {at}") for at in range(2)),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        checker.check_model(model)
        (folder / "onnx").mkdir(parents=True)
        save(model, folder / "onnx" / "model.onnx")
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 16}))
        named = {
            "texts": ("negative positive", []),
            "entities": ("O B-praise", ["BertForTokenClassification"]),
            "answers": ("start end", ["BertForQuestionAnswering"]),
        }
        labels, classes = named[kind]
        config = {"id2label": dict(enumerate(labels.split())), "pad_token_id": 0}
        config |= {"architectures": classes} if classes else {}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return write_words_bundle


@pytest.fixture(scope="session")
def write_run(write_words_bundle: Callable[..., Path]) -> Callable[..., Path]:
    """``write_run(folder, ...)``: a finished run with a sealed bundle and a report.

    ``accuracy`` is that of its 400 test texts. ``checks`` are (value, limit) of upper bounds. With
    ``by_verdict`` they count as passed, whatever their numbers are. The report is of the newest
    schema, or of the third one.
    """

    def write_run(
        folder: Path,
        *,
        name: str = "tiny",
        seed: int = 0,
        accuracy: float = 0.8,
        data: str = "d" * 64,
        checks: Sequence[tuple[float, float]] = ((0.0, 0.01),),
        by_verdict: bool = False,
        schema: int = 4,
    ) -> Path:
        import numpy as np

        from pipeline.release.bundle import seal_bundle

        seal_bundle_of = write_words_bundle(folder / "student", seed=seed)
        seal_bundle(seal_bundle_of)
        labels = np.arange(400) % 2
        right = np.arange(400) < round(accuracy * 400)
        predicted = np.where(right, labels, 1 - labels)
        (folder / "evaluate").mkdir()
        logits = np.eye(2, dtype=np.float32)[predicted]
        np.savez(folder / "evaluate" / "outputs.npz", labels=labels, student=logits)
        held = [
            {
                "name": f"check {number}",
                "value": value,
                "interval": None,
                "bound": "at most",
                "limit": limit,
                "unit": "part",
                "evidence": "verdict" if by_verdict else "value",
                "passed": True,
                "reason": f"Check {number}: {value} is over {limit}.",
            }
            for number, (value, limit) in enumerate(checks)
        ]
        passed = by_verdict or all(value <= limit for value, limit in checks)
        report = {
            "run_id": folder.name,
            "name": name,
            "verdict": "passed" if passed else "refused",
            "checks": held,
        }
        write = new_report if schema == 4 else old_report
        (folder / "report.json").write_text(json.dumps(write(report, accuracy, data)))
        (folder / "config.json").write_text(json.dumps({"name": name, "distill": {"epochs": 3}}))
        return folder

    return write_run


def new_report(run: dict, accuracy: float, digest: str) -> dict:
    """Return a report of schema 4."""
    training = outcome(0.5, accuracy=[0.7, 0.7])
    return document(
        **run,
        data=data_facts("negative", "positive") | {"digest": digest},
        evaluation=evaluation(
            student=measured(0.04, accuracy=accuracy),
            fidelity=measured(0.01, agreement=0.98, mean_kl=0.002),
        ),
        student=student(
            outcome=training | {"curve": [{"step": 3, "train_loss": 0.5}]},
        ),
    )


def old_report(run: dict, accuracy: float, digest: str) -> dict:
    """Return a report of schema 3, as far as the registry reads it."""
    return run | {
        "schema_version": 3,
        "reasons": [],
        "data": {"digest": digest},
        "student": {
            "metrics": {"accuracy": accuracy},
            "intervals": {"accuracy": [accuracy - 0.04, accuracy + 0.04]},
            "curve": [{"step": 3, "train_loss": 0.5, "validation": {"accuracy": 0.7}}],
        },
        "fidelity": {"agreement": 0.98, "mean_kl": 0.002, "intervals": {}},
        "latency": [
            {"arm": "plain", "batch": 1, "length": 2, "median_ms": 1.0, "ratio_to_plain": 1.0}
        ],
    }


@pytest.fixture(scope="session")
def empty_registry_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's database as it is created; that takes seconds, so tests copy it."""
    from pipeline.release.registry import open_registry

    folder = tmp_path_factory.mktemp("registry")
    open_registry(None, folder)
    return folder / "mlflow.db"


@pytest.fixture
def registry(empty_registry_file: Path, tmp_path: Path) -> object:
    """An empty registry in ``tmp_path / "runs"``."""
    from pipeline.release.registry import open_registry

    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(empty_registry_file.read_bytes())
    return open_registry(None, tmp_path / "runs")
