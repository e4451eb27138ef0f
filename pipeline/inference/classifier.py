"""An exported model: texts to outputs through tokenizers and onnxruntime, without torch.

A bundle may hold several ONNX files of the same model. ``onnx/runtime.json`` says which one runs
and with which session settings; without it, that is ``onnx/model.onnx`` as it is.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from pydantic import TypeAdapter
from tokenizers import Tokenizer
from tqdm.auto import tqdm

from pipeline.errors import InputError, refusing
from pipeline.facts.variants import Runtime
from pipeline.inference.batches import cut_batches
from pipeline.inference.cache import check_decoder, first_inputs
from pipeline.inference.generation import Writer, make_writer
from pipeline.inference.reading import text_readings
from pipeline.inference.session import check_graph, mixes_rows, open_session
from pipeline.inference.thresholds import read_thresholds
from pipeline.inference.tokens import INPUTS, TextEncoder, Tokens, load_encoder
from pipeline.store.json_files import read_json
from pipeline.tasks.all_tasks import task_of_model
from pipeline.tasks.layout import Layout, Window
from pipeline.tasks.task import Task
from pipeline.workers.bars import hides_bars

if TYPE_CHECKING:  # pyarrow, which it imports, would cost a server 40 MB
    from pipeline.texts.tables import Text

MODEL = "onnx/model.onnx"
RUNTIME = "onnx/runtime.json"
PARTS = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files that a classifier is loaded from, beside its ONNX file."""
_RUNTIME = TypeAdapter(Runtime)
_PART = 4096
"""Texts that are tokenised at once, which limits the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A bundle, loaded."""

    session: ort.InferenceSession
    encoder: TextEncoder
    labels: tuple[str, ...]
    """Names of the outputs."""
    task: Task
    mixes_rows: bool
    """Whether a text's outputs depend on the texts beside it in a call, beyond rounding errors."""
    thresholds: np.ndarray | None = None
    """Thresholds that its outputs are read by, (C,); None takes the task's defaults."""
    writer: Writer | None = None
    """Writer of completions, where it is a language model."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, set to truncate."""
        return self.encoder.tokenizer

    def outputs(
        self,
        texts: "Sequence[Text]",
        *,
        batch_size: int = 32,
        batch_tokens: int | None = None,
        title: str | None = None,
    ) -> np.ndarray:
        """Return the outputs, (N, C) float32, in the texts' order. A title asks for a bar.

        A text has the same outputs whatever the others are. If a file mixes the rows of a call,
        each runs alone, and outputs are exact. Else they differ by rounding.

        A task with a layout gives (N, W, ...), and NaN behind what a text has of them. A language
        model gives readings of every token, (N, T, R).

        Args:
            texts: Each one text, or two.
            batch_size: Most texts per call.
            batch_tokens: Most padded tokens per call, where a call has more than one text.
            title: Of the progress bar.
        """
        if self.task.continues:
            return text_readings(self, texts, batch_size=batch_size, title=title)
        if self.task.layout is not None:
            return self._read_windows(self.task.layout, texts, batch_size, batch_tokens, title)
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        batch_size = 1 if self.mixes_rows else batch_size
        with tqdm(
            total=len(texts),
            desc=title,
            unit="text",
            leave=False,
            disable=hides_bars() if title else True,
        ) as bar:
            for rows, inputs in self.batches(
                texts, batch_size=batch_size, batch_tokens=batch_tokens
            ):
                result[rows] = self.run(inputs)
                bar.update(len(rows))
        return result

    def readings(
        self,
        texts: "Sequence[Text]",
        *,
        batch_size: int = 32,
        title: str | None = None,
        teacher: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return what the task measures on texts of the data.

        They are `outputs` with the thresholds that read them, of texts that are the data's.

        Args:
            texts: Each one text, or two.
            batch_size: Most texts per call.
            title: Of the progress bar.
            teacher: A teacher's readings of them; a language model's are of the same words then.
        """
        if self.task.continues:
            return text_readings(self, texts, batch_size=batch_size, title=title, chosen=teacher)
        outputs = self.data_outputs(texts, batch_size=batch_size, title=title)
        return self.task.readings(outputs, self.thresholds)

    def data_outputs(
        self, texts: "Sequence[Text]", *, batch_size: int = 32, title: str | None = None
    ) -> np.ndarray:
        """Return what `outputs` does, of texts that are the data's."""
        layout = self.task.layout
        if layout is None:
            return self.outputs(texts, batch_size=batch_size, title=title)
        return self._read_windows(layout, texts, batch_size, None, title, of_data=True)

    def answers(self, outputs: np.ndarray, texts: "Sequence[Text]") -> list[dict[str, Any]]:
        """Return what a user reads of each text's outputs, as plain JSON."""
        return self.task.answers(self.task.readings(outputs, self.thresholds), self.labels, texts)

    def _read_windows(
        self,
        layout: Layout,
        texts: "Sequence[Text]",
        batch_size: int,
        batch_tokens: int | None,
        title: str | None,
        *,
        of_data: bool = False,
    ) -> np.ndarray:
        """Return the outputs of texts that are read in windows, (N, W, ...)."""
        batch_size = 1 if self.mixes_rows else batch_size
        windows = self.windows(texts, of_data=of_data)
        rows = [self.encoder.tokens_of(window.encoding) for window in windows]

        def found() -> Iterator[tuple[int, np.ndarray]]:
            with tqdm(
                total=len(rows), desc=title, leave=False, disable=hides_bars() if title else True
            ) as bar:
                for chosen, inputs in self.batches_of(rows, batch_size, batch_tokens):
                    yield from zip(chosen.tolist(), self.run(inputs), strict=True)
                    bar.update(len(chosen))

        outputs = layout.gather(windows, found(), len(texts))
        return outputs if outputs.shape[2] else np.zeros((0, 0, len(self.labels)), np.float32)

    def windows(self, texts: "Sequence[Text]", *, of_data: bool = False) -> list[Window]:
        """Return the windows of texts, for a task with a layout.

        Raises:
            InputError: for texts where the task takes pairs, or pairs where it takes texts; and
                for a text that leaves no room for windows.
        """
        layout = self.task.layout
        if layout is None:
            raise TypeError(f"a {self.task.name} reads no windows")
        if any(len(text) != layout.columns for text in texts):
            said = "pairs, found a single text. Give both texts of each pair"
            if layout.columns == 1:
                said = "single texts, found a pair. Give one text"
            raise InputError(f"A {self.task.name} takes {said}.")
        return layout.cut(texts, self.encoder.encodings(texts), of_data=of_data)

    def find_truncated(self, texts: "Sequence[Text]") -> tuple[int, ...]:
        """Return the positions of texts of which a part is not read; windows read all of a text."""
        if self.task.is_ragged:
            return ()
        positions: list[int] = []
        for first in range(0, len(texts), _PART):
            marks = self.encoder.encode_marked(texts[first : first + _PART])[1]
            positions += [first + row for row, is_cut in enumerate(marks) if is_cut]
        return tuple(positions)

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the outputs, (B, C), of int64 tensors (B, T) by their names in the graph.

        Several outputs of a graph are columns of one array, (B, T, C). A language model's graph
        gives its cache too, which is left aside.
        """
        names = [each.name for each in self.session.get_outputs()]
        wanted = names[:1] if self.task.continues else names
        outputs: list[np.ndarray] = self.session.run(wanted, inputs)
        return outputs[0] if len(outputs) == 1 else np.stack(outputs, axis=-1)

    def batches(
        self, texts: "Sequence[Text]", *, batch_size: int, batch_tokens: int | None = None
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yield (row numbers, the session's inputs (B, T)), of each part the shortest first."""
        for first in range(0, len(texts), _PART):
            rows = self.encoder.encode(texts[first : first + _PART])
            for chosen, inputs in self.batches_of(rows, batch_size, batch_tokens):
                yield first + chosen, inputs

    def batches_of(
        self, rows: Sequence[Tokens], batch_size: int, batch_tokens: int | None
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yield what `batches` does of texts that were made tokens of."""
        lengths = np.array([len(row["input_ids"]) for row in rows])
        order = np.argsort(lengths, kind="stable")
        for chosen in cut_batches(order, lengths, batch_size, batch_tokens):
            yield chosen, self.pad([rows[number] for number in chosen])

    def pad(self, rows: Sequence[Tokens]) -> dict[str, np.ndarray]:
        """Return texts as the session's inputs, (B, T), padded to the longest one.

        A language model's are those that read texts from their first tokens on.
        """
        if self.task.continues:
            padded = self.encoder.settings.pad(rows, INPUTS[:2])
            return first_inputs(self.session, padded["input_ids"], padded["attention_mask"])
        names = [each.name for each in self.session.get_inputs()]
        return self.encoder.settings.pad(rows, names)


def load_bundle(bundle: Path, *, threads: int = 0, runtime: Runtime | None = None) -> Classifier:
    """Return the classifier in a folder written by the export stage.

    Args:
        bundle: Folder with ``config.json``, ``tokenizer.json`` and ``onnx/model.onnx``.
        threads: Threads per call; 0 takes as many as this process may run.
        runtime: Which of its files to run, and how; by default what the bundle says.

    Raises:
        InputError: when the folder is not a bundle, or its parts cannot be read.
    """
    missing = [name for name in (*PARTS, MODEL) if not (bundle / name).is_file()]
    if missing:
        raise InputError(
            f"{bundle} is not an exported classifier: it has no {', '.join(missing)}. Give the "
            "student folder of a finished run, such as runs/latest/student."
        )
    runtime = runtime or read_runtime(bundle)
    # tokenizers and onnxruntime raise bare exceptions of their own for files they cannot parse.
    with refusing(f"Cannot load the classifier in {bundle}", "Export it again, or copy it anew."):
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        task = task_of_model(config)
        by_index = {} if task.continues else config["id2label"]
        labels = tuple(str(by_index[str(index)]) for index in range(len(by_index)))
        pad_id = int(config.get("pad_token_id") or 0)
        windows_of = task.layout.columns if task.layout else int(task.continues)
        encoder = load_encoder(bundle, pad_id=pad_id, windows_of=windows_of)
        session = open_session(runtime, bundle, threads=threads)
        if task.continues:
            check_decoder(session)
        else:
            check_graph(session, outputs=len(labels), axes=3 if task.layout else 2)
        return Classifier(
            session=session,
            encoder=encoder,
            labels=labels,
            task=task,
            mixes_rows=mixes_rows(bundle / "onnx" / runtime.file),
            thresholds=read_thresholds(bundle, task.thresholds.names(labels))
            if task.thresholds
            else None,
            writer=make_writer(session, encoder.tokenizer, config) if task.continues else None,
        )


def read_runtime(bundle: Path) -> Runtime:
    """Return how a bundle wants to be run.

    Raises:
        InputError: when it says so in a file that is damaged.
    """
    path = bundle / RUNTIME
    if not path.is_file():
        return Runtime()
    advice = "Export the bundle again, or copy it anew."
    return read_json(path, _RUNTIME, expected="a bundle's way to be run", advice=advice)


def runtime_of(path: Path) -> Runtime:
    """Return how the bundle around an ONNX file wants that file to be run, if it says so."""
    said = read_runtime(path.parent.parent)
    return said if said.file == path.name else Runtime(file=path.name)
