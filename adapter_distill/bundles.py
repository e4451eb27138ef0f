"""Bundles: loaded to answer texts, and timed against one another."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapter_distill.texts import Folder, GivenText, as_texts
from pipeline.config import BenchmarkConfig

if TYPE_CHECKING:  # onnxruntime takes half a second to import
    from pipeline.facts.benchmark import BenchmarkFacts
    from pipeline.inference.classifier import Classifier
    from pipeline.standalone.predict import Answers
    from pipeline.timing.measurement import Measurement

logger = logging.getLogger("pipeline.predict")  # shown as what the stages log


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A bundle in memory, which onnxruntime runs."""

    folder: Path
    classifier: "Classifier"
    """Session, tokenizer and task."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its outputs, in their order."""
        return self.classifier.labels

    # Any: an answer is whatever its task's schema says.
    def predict(self, texts: Sequence[GivenText]) -> list[dict[str, Any]]:
        """Return the answer to each text, as plain JSON; log which texts are cut.

        A classification answers with ``label``, ``score`` and ``scores``, the score of every label.
        A multi-label task answers with ``labels`` and ``scores``, a regression with ``value``, and
        a token classification with ``entities``. A language model answers with its ``completion``,
        its end (``ended_by``) and the number of ``tokens``. `stream` gives it piece by piece.

        Args:
            texts: Texts, or pairs as tuples.

        Raises:
            InputError: for texts that the model cannot read.
        """
        found = self.answer(texts)
        if said := found.said():
            logger.warning("%s", said)
        return found.answers

    def answer(
        self,
        texts: Sequence[GivenText],
        *,
        tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> "Answers":
        """Return the answers to texts, and the positions of texts that were cut.

        Args:
            texts: Texts, or pairs as tuples.
            tokens: Limit of a language model, as `stream` takes it; the next two are, too.
            temperature: Likewise.
            seed: Likewise.

        Raises:
            InputError: for texts that the model cannot read, and limits of another kind of model.
        """
        from pipeline.standalone.predict import answer_texts, limits_of

        own = limits_of(self.classifier, tokens, temperature, seed)
        return answer_texts(self.classifier, as_texts(texts), name=str(self.folder), limits=own)

    def stream(
        self,
        prompt: str,
        *,
        tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """Return what a language model writes after a prompt, piece by piece as it is generated.

        Args:
            prompt: Any text; it is read at once.
            tokens: Most tokens that are generated; 64 by default.
            temperature: Softens the distribution that tokens are drawn from. 0, the default, takes
                the likeliest.
            seed: Seed of the draws.

        Raises:
            InputError: for another kind of model, and a prompt without tokens or a longer one.
        """
        from pipeline.standalone.predict import limits_of, stream

        own = limits_of(self.classifier, tokens, temperature, seed)
        return stream(self.classifier, prompt, own)


def load(bundle: Folder) -> Model:
    """Return the model of a bundle, ready to predict; torch is not imported.

    >>> model = load("runs/latest/student")
    >>> answers = model.predict(["a good film", "a bad film"])
    >>> [answer["label"] in model.labels for answer in answers]
    [True, True]

    Args:
        bundle: Folder of a finished run's student, or one that `export` wrote.

    Raises:
        InputError: when the folder holds no bundle, or a damaged one.
    """
    from pipeline.inference.classifier import load_bundle
    from pipeline.workers.threads import count_idle_threads

    folder = Path(bundle)
    return Model(folder=folder, classifier=load_bundle(folder, threads=count_idle_threads()))


def benchmark(
    *models: Folder,
    against: Folder | None = None,
    teacher: Folder | None = None,
    torch_teacher: Folder | None = None,
    texts: Sequence[GivenText] = (),
    config: BenchmarkConfig | None = None,
) -> "BenchmarkFacts":
    """Return what ONNX files cost on this machine, each against the first.

    >>> facts = benchmark("runs/latest/student", config=BenchmarkConfig(
    ...     batch_sizes=(1,), lengths=(8,), min_blocks=3, max_blocks=3, rounds=2, warmup_runs=1,
    ...     ladder_blocks=0, seconds_per_file=0.01))
    >>> [row.median_ms > 0 for row in facts.latency]
    [True, True]

    Args:
        models: Bundles or ONNX files; the first is the candidate.
        against: The baseline, the plain backbone; by default the second model, or the only one.
        teacher: The adapter teacher as a bundle. With it there is a verdict on the candidate.
        torch_teacher: Folder of the same teacher, to time it in PyTorch too.
        texts: Texts whose lengths make one more cell.
        config: Cells and limits of the measurement.

    Raises:
        InputError: when a model cannot be measured.
    """
    from pipeline.timing.summary import describe_measurement

    config = config or BenchmarkConfig()
    measurement = measure_files(
        models,
        config,
        against=against,
        teacher=teacher,
        torch_teacher=torch_teacher,
        texts=texts,
    )
    return describe_measurement(measurement, config.confidence)


def measure_files(
    models: Sequence[Folder],
    config: BenchmarkConfig,
    *,
    against: Folder | None,
    teacher: Folder | None,
    torch_teacher: Folder | None,
    texts: Sequence[GivenText],
) -> "Measurement":
    """Return every time that was measured; the arguments are those of `benchmark`."""
    from pipeline.standalone.benchmark import benchmark_alone

    return benchmark_alone(
        [Path(model) for model in models],
        config,
        against=None if against is None else Path(against),
        teacher=None if teacher is None else Path(teacher),
        torch_teacher=None if torch_teacher is None else Path(torch_teacher),
        texts=as_texts(texts),
    )
