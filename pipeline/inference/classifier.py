"""An exported model: texts to outputs through tokenizers and onnxruntime, without torch.

A bundle may hold several ONNX files of the same model. ``onnx/runtime.json`` says which one runs
and with which session settings; without it, that is ``onnx/model.onnx`` as it is.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from pydantic import TypeAdapter
from tokenizers import Encoding, Tokenizer
from tqdm.auto import tqdm

from pipeline.errors import InputError, refusing
from pipeline.facts.variants import Runtime
from pipeline.inference.session import open_session
from pipeline.store.json_files import read_json
from pipeline.tasks.all_tasks import task_of_model
from pipeline.tasks.task import Task

if TYPE_CHECKING:  # pyarrow, which it imports, would cost a server 40 MB
    from pipeline.texts.tables import Text

MODEL = "onnx/model.onnx"
RUNTIME = "onnx/runtime.json"
PARTS = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""What a classifier is loaded from, beside its ONNX file."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Names of what a classifier's graph may take."""
_RUNTIME = TypeAdapter(Runtime)


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A bundle, loaded."""

    session: ort.InferenceSession
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    """Names of the outputs."""
    pad_id: int
    task: Task

    def outputs(
        self,
        texts: "Sequence[Text]",
        *,
        batch_size: int = 32,
        batch_tokens: int | None = None,
        title: str | None = None,
    ) -> np.ndarray:
        """Return the outputs, (N, C) float32, in the texts' order. A title asks for a bar.

        Args:
            texts: Each one text, or two.
            batch_size: Most texts per call.
            batch_tokens: Most padded tokens per call, where a call has more than one text.
            title: Of the progress bar.
        """
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        with tqdm(
            total=len(texts), desc=title, unit="text", leave=False, disable=None if title else True
        ) as bar:
            for rows, inputs in self.batches(
                texts, batch_size=batch_size, batch_tokens=batch_tokens
            ):
                result[rows] = self.run(inputs)
                bar.update(len(rows))
        return result

    def run(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the outputs, (B, C), of int64 tensors (B, T) by their names in the graph."""
        outputs: np.ndarray = self.session.run(None, inputs)[0]
        return outputs

    def batches(
        self, texts: "Sequence[Text]", *, batch_size: int, batch_tokens: int | None = None
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Yield (row numbers, the session's inputs (B, T)), the shortest texts first."""
        with _panics_as_errors():
            encodings = self.tokenizer.encode_batch([t[0] if len(t) == 1 else t for t in texts])
        lengths = np.array([len(encoding.ids) for encoding in encodings])
        order = np.argsort(lengths, kind="stable")
        for rows in _cut(order, lengths, batch_size, batch_tokens):
            yield rows, self._inputs([encodings[row] for row in rows])

    def _inputs(self, encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
        """Return one batch, padded to its longest text."""
        width = max(len(encoding.ids) for encoding in encodings)
        columns = {
            "input_ids": ([e.ids for e in encodings], self.pad_id),
            "attention_mask": ([e.attention_mask for e in encodings], 0),
            "token_type_ids": ([e.type_ids for e in encodings], 0),
        }
        inputs = {}
        for wanted in self.session.get_inputs():
            rows, filler = columns[wanted.name]
            padded = [row + [filler] * (width - len(row)) for row in rows]
            inputs[wanted.name] = np.array(padded, dtype=np.int64)  # (B, T)
        return inputs


@contextlib.contextmanager
def _panics_as_errors() -> Iterator[None]:
    """Turn a panic inside tokenizers into an error that can be handled.

    Files that it reads without complaint can make it panic on the first text. What is raised then
    is no `Exception`, would end a server's thread, and can be told by its name alone.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"the tokenizer panicked: {error}.") from error


def _cut(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, batch_tokens: int | None
) -> Iterator[np.ndarray]:
    """Cut rows that are sorted by length into batches within both limits."""
    start = 0
    while start < len(order):
        end = min(start + batch_size, len(order))
        # Rows get longer to the end: the last one is the width of the batch.
        while batch_tokens and end > start + 1:
            if (end - start) * lengths[order[end - 1]] <= batch_tokens:
                break
            end -= 1
        yield order[start:end]
        start = end


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
        settings = json.loads((bundle / "tokenizer_config.json").read_text(encoding="utf-8"))
        labels = config["id2label"]
        tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=int(settings["model_max_length"]))
        session = open_session(runtime, bundle, threads=threads)
        _check_graph(session, outputs=len(labels))
        return Classifier(
            session=session,
            tokenizer=tokenizer,
            labels=tuple(str(labels[str(index)]) for index in range(len(labels))),
            pad_id=int(config.get("pad_token_id") or 0),
            task=task_of_model(config),
        )


def _check_graph(session: ort.InferenceSession, *, outputs: int) -> None:
    """Refuse a graph that does not give so many outputs for each text."""
    inputs = [each.name for each in session.get_inputs()]
    shape = session.get_outputs()[0].shape
    if not set(inputs) <= set(INPUTS) or len(shape) != 2:
        raise ValueError(
            f"its graph maps {', '.join(inputs)} to the shape {shape}; expected texts by outputs, "
            f"of {', '.join(INPUTS)}"
        )
    if isinstance(shape[1], int) and shape[1] != outputs:
        raise ValueError(f"its graph has {shape[1]} outputs, and its config.json {outputs}")


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
