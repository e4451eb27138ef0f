"""The texts that a command is given: as arguments, from a file, or on standard input."""

import sys
from pathlib import Path

from pipeline.errors import InputError


def read_texts(texts: list[str], file: Path | None) -> list[str]:
    """Return the texts of the arguments and of the file, of standard input for ``-``."""
    lines: list[str] = []
    for text in texts:
        lines += _lines(sys.stdin.buffer.read(), "standard input") if text == "-" else [text]
    if file is not None:
        stdin = str(file) == "-"
        try:
            data = sys.stdin.buffer.read() if stdin else file.read_bytes()
        except OSError as error:
            raise InputError(
                f"Cannot read {file}: {error.strerror}. Give a text file, one text a line."
            ) from error
        lines += _lines(data, "standard input" if stdin else str(file))
    if not lines:
        raise InputError("No texts. Give them as arguments, with --file, or - for standard input.")
    return lines


def _lines(data: bytes, origin: str) -> list[str]:
    try:
        return [line for line in data.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{origin} is not UTF-8 text: {error}. Convert it.") from error
