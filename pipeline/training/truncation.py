"""How many texts are longer than ``data.max_length``, said where a split is first encoded."""

import logging
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pipeline.texts.tables import Text
from pipeline.training.encoding import Example

logger = logging.getLogger(__name__)


def log_truncated(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    examples: Sequence[Example],
    *,
    max_length: int,
) -> int:
    """Log how many texts of a split were truncated, if any were, and return it.

    Args:
        name: Name of the split.
        tokenizer: What encoded them.
        texts: Texts or pairs.
        examples: The same texts, encoded.
        max_length: Longest input, in tokens.
    """
    # Only texts that fill the whole length can have been cut.
    full = [t for t, e in zip(texts, examples, strict=True) if len(e["input_ids"]) >= max_length]
    if not full:
        return 0
    columns = [list(column) for column in zip(*full, strict=True)]
    whole = tokenizer(*columns, truncation=False, verbose=False)["input_ids"]
    cut = sum(len(ids) > max_length for ids in whole)
    if cut:
        logger.info(
            "%s: %s of %s texts (%.1f %%) are longer than data.max_length = %d tokens, and cut",
            name,
            f"{cut:,}",
            f"{len(texts):,}",
            100 * cut / len(texts),
            max_length,
        )
    return cut
