"""An exported classifier: texts to logits through tokenizers and onnxruntime, without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from tokenizers import Encoding, Tokenizer
from tqdm.auto import tqdm

from pipeline.errors import InputError
from pipeline.tables import Text

MODEL = "onnx/model.onnx"


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """A bundle, loaded."""

    session: ort.InferenceSession
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    pad_id: int

    def logits(
        self, texts: Sequence[Text], *, batch_size: int = 32, title: str | None = None
    ) -> np.ndarray:
        """Return the logits, (N, C) float32, in the texts' order. A title asks for a bar."""
        encodings = self.tokenizer.encode_batch([t[0] if len(t) == 1 else t for t in texts])
        order = np.argsort([sum(e.attention_mask) for e in encodings], kind="stable")
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        with tqdm(
            total=len(texts), desc=title, unit="text", leave=False, disable=None if title else True
        ) as bar:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                result[rows] = self._run([encodings[row] for row in rows])
                bar.update(len(rows))
        return result

    def _run(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """Return the logits of one batch, padded to its longest text."""
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
        logits: np.ndarray = self.session.run(["logits"], inputs)[0]
        return logits


def load_bundle(bundle: Path, *, threads: int = 0) -> Classifier:
    """Return the classifier in a folder written by the export stage.

    Args:
        bundle: Folder with ``config.json``, ``tokenizer.json`` and ``onnx/model.onnx``.
        threads: Threads per call; 0 lets onnxruntime take all cores.

    Raises:
        InputError: when the folder is not a bundle, or its parts cannot be read.
    """
    parts = ("config.json", "tokenizer.json", "tokenizer_config.json", MODEL)
    missing = [name for name in parts if not (bundle / name).is_file()]
    if missing:
        raise InputError(
            f"{bundle} is not an exported classifier: it has no {', '.join(missing)}. Give the "
            "student folder of a finished run, such as runs/latest/student."
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        settings = json.loads((bundle / "tokenizer_config.json").read_text(encoding="utf-8"))
        labels = config["id2label"]
        tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=int(settings["model_max_length"]))
        return Classifier(
            session=ort.InferenceSession(
                bundle / MODEL, options, providers=["CPUExecutionProvider"]
            ),
            tokenizer=tokenizer,
            labels=tuple(labels[str(index)] for index in range(len(labels))),
            pad_id=int(config.get("pad_token_id") or 0),
        )
    # tokenizers and onnxruntime raise bare exceptions of their own for files they cannot parse.
    except Exception as error:
        raise InputError(
            f"Cannot load the classifier in {bundle}: {error} Export it again, or copy it anew."
        ) from error
