"""Distillation's targets of every token: labels and a teacher's outputs, packed in one array.

Shapes: N = texts, T = tokens, C = outputs per token, R = numbers of a reading.
"""

from typing import Any

from models.token_layout import FOLLOWING
from pipeline.texts.cells import MISSING_LABEL


# Any: arrays and tensors alike.
def unpack_readings(packed: Any) -> tuple[Any, Any]:
    """Return the tokens that follow, (N, T), and the teacher's readings, (N, T, R).

    Padding is NaN, or -100 in all columns where the Trainer pads; its readings become NaN.
    """
    filled = ~(packed[..., FOLLOWING] >= 0)
    labels, readings = packed[..., FOLLOWING] * 1, packed * 1
    labels[filled], readings[filled] = MISSING_LABEL, float("nan")
    return labels, readings


# Any: arrays and tensors alike.
def unpack_tokens(packed: Any) -> tuple[Any, Any]:
    """Return the labels (N, T) and the teacher's outputs (N, T, C) of packed rows, (N, T, 1 + C).

    Padding is NaN, or -100 in all columns where the Trainer pads; its outputs become NaN.
    """
    filled = (packed == MISSING_LABEL).all(-1) | (packed != packed).any(-1)
    labels, outputs = packed[..., 0] * 1, packed[..., 1:] * 1
    labels[filled], outputs[filled] = MISSING_LABEL, float("nan")
    return labels, outputs
