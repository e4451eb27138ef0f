"""The texts that a command is given: as arguments, from a file, or on standard input."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.store.places import DATA_SUFFIXES
from pipeline.texts.decoding import decode, read_text
from pipeline.texts.text_files import Form, check_texts, cut_texts, given_texts

if TYPE_CHECKING:
    from pipeline.texts.tables import Text

PAIRS_HELP = "Read pairs: every two arguments, or two columns of a file with a tab between."
JSONL_HELP = (
    'Read JSON lines: "text", ["text", "its pair"], {"text": ..., "text_b": ...} or '
    '{"question": ..., "context": ...}.'
)
_STDIN = "-"


def read_texts(
    arguments: list[str], file: Path | None, *, pairs: bool = False, jsonl: bool = False
) -> "list[Text]":
    """Return the texts of the arguments and of the file, of standard input for ``-``.

    Args:
        arguments: Texts; in pairs, the first and the second text in turn.
        file: Text file, one text per line.
        pairs: Whether two texts belong together.
        jsonl: Whether each argument and line is JSON.

    Raises:
        InputError: for what cannot be read that way, or where there is no text.
    """
    if pairs and jsonl:
        raise InputError("Give --pairs or --jsonl, not both: JSON lines mark their own pairs.")
    form: Form = "jsonl" if jsonl else "pairs" if pairs else "text"
    if _STDIN in arguments:
        if arguments != [_STDIN]:
            raise InputError(
                "- reads standard input, so it cannot be one of several texts. Give - alone, or a "
                "text that is a hyphen in a file."
            )
        arguments, texts = [], _from_stdin(form)
    else:
        texts = given_texts(arguments, form)
    if file is not None:
        texts += _from_stdin(form) if str(file) == _STDIN else _from_file(file, form)
    if not texts:
        raise InputError("No texts. Give them as arguments, with --file, or - for standard input.")
    check_texts(texts, [f"text {number}" for number in range(1, len(texts) + 1)])
    return texts


def _from_stdin(form: Form) -> "list[Text]":
    source = "standard input"
    return cut_texts(decode(sys.stdin.buffer.read(), source), source, form)


def _from_file(file: Path, form: Form) -> "list[Text]":
    suffix = file.suffix.lower()
    fitting = {"text": (), "pairs": (".tsv",), "jsonl": (".json", ".jsonl")}[form]
    if suffix in DATA_SUFFIXES and suffix not in fitting:
        raise InputError(
            f"{file} is a table by its name, and its lines would be taken for texts. Give its "
            "texts in a file that ends in .txt, pairs with --pairs, or JSON lines with --jsonl."
        )
    return cut_texts(read_text(file), str(file), form)
