"""Bytes of a text file to text: UTF-8, or what a byte order mark says.

Other encodings are refused. None of them can be told from another for certain, and a wrong guess
trains on garbage without a word.
"""

import codecs
from pathlib import Path

from pipeline.errors import InputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BINARY = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}
"""First bytes of files that are often given for text."""


def read_text(path: Path) -> str:
    """Return the content of a text file, without its byte order mark.

    Raises:
        InputError: when it cannot be read, or is not text in UTF-8 or in UTF with a mark.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Cannot read the file {path}: {error.strerror}. Give a file that can be read."
        ) from error
    return decode(data, f"the file {path}")


def decode(data: bytes, source: str) -> str:
    """Return bytes as text, without their byte order mark.

    Args:
        data: All bytes.
        source: Where they come from, for messages: ``the file PATH``.

    Raises:
        InputError: when they are not text in UTF-8 or in UTF with a mark.
    """
    refuse_binary(data, source)
    mark, encoding = next((each for each in _MARKS if data.startswith(each[0])), (b"", "utf-8"))
    return decode_lines(data[len(mark) :], source, encoding=encoding)


def refuse_binary(start: bytes, source: str) -> None:
    """Refuse a file that is no text by its first bytes.

    Raises:
        InputError: with its kind.
    """
    for known, kind in _BINARY.items():
        if start.startswith(known):
            raise InputError(f"Cannot read {source}: it is {kind}. Give plain text in UTF-8.")


def decode_lines(data: bytes, source: str, *, encoding: str = "utf-8", first: int = 1) -> str:
    """Return some lines of a file as text.

    Args:
        data: Their bytes.
        source: Where they come from, for messages: ``the file PATH``.
        encoding: How they are encoded.
        first: Number of the first of them.

    Raises:
        InputError: when they are not text in this encoding.
    """
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(_not_decodable(data, error, encoding, source, first)) from error
    if (place := text.find("\0")) >= 0:
        raise InputError(
            f"Cannot read {source}: line {text.count(chr(10), 0, place) + first} holds a NUL "
            "character, which no text holds. It may be UTF-16 without a byte order mark. Convert "
            "it: iconv -f UTF-16LE -t UTF-8 OLD > NEW."
        )
    return text


def _not_decodable(
    data: bytes, error: UnicodeDecodeError, encoding: str, source: str, first: int
) -> str:
    found = data[error.start : error.start + 1].hex()
    line = data[: error.start].decode(encoding, "replace").count("\n") + first
    likely = "UTF-16LE" if data.count(0) > len(data) // 8 else "WINDOWS-1252"
    return (
        f"Cannot read {source}: line {line} is not {encoding.upper()} ({error.reason}, byte "
        f"0x{found} at position {error.start}). Convert it from the encoding that it was saved "
        f"in, such as: iconv -f {likely} -t UTF-8 OLD > NEW."
    )
