"""Number of texts longer than ``data.max_length``, logged where a run first encodes them."""

import logging
from collections.abc import Mapping

from transformers import PreTrainedTokenizerBase

from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.tokenizers import encoder_of
from pipeline.facts.training import Truncation
from pipeline.texts.tables import Split

logger = logging.getLogger(__name__)


def measure_truncation(
    tokenizer: PreTrainedTokenizerBase, splits: Mapping[str, Split], context: ModelContext
) -> Truncation:
    """Return and log the number of texts of each split that exceed the longest input.

    Args:
        tokenizer: Tokenizer that encodes the texts.
        splits: All texts by split.
        context: Record with the length of the longest input.
    """
    encoder = encoder_of(tokenizer, max_length=context.max_length)
    in_windows = context.task.is_ragged
    found = {name: encoder.count_truncated(split.texts) for name, split in splits.items()}
    for name, count in found.items():
        if count:
            logger.info(
                "%s: %s of %s texts (%.1f %%) are longer than data.max_length = %d tokens, and %s",
                name,
                f"{count:,}",
                f"{len(splits[name]):,}",
                100 * count / len(splits[name]),
                context.max_length,
                "read in windows" if in_windows else "truncated",
            )
    return Truncation(max_length=context.max_length, texts=found, reads_windows=in_windows)
