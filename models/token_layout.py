"""A token's reading: what is kept of a language model's logits, which are too many to keep.

A vocabulary of 49,000 words makes 100 MB of logits of 512 tokens. A reading is a row of numbers
instead. It holds what metrics need of the token, and the probabilities of some likely words. The
rest of the vocabulary is one more word, the tail. A student's readings are of the words that its
teacher chose, so that both can be compared.

It stands at the token that the model has read last. NaN stands where no token follows.

Shapes: K = words, V = size of the vocabulary, R = 5 + 2K.
"""

FOLLOWING, LOG_PROBABILITY, LIKELIEST, SIZE_BYTES, TAIL = range(5)
"""Places in a reading. They hold the id of the token that follows, its log-probability, and the id
of the likeliest token. Then come the bytes of the token that follows, 0 where there is no text. The
last is the log-probability of the tail."""
WORDS = 5
"""Place of the first word's id; behind all ids are their log-probabilities."""
_MOST_WORDS = 64


def words_of(vocabulary: int) -> int:
    """Return K: of a small vocabulary all words but one, whose tail is then a single word."""
    return min(_MOST_WORDS, vocabulary - 1)


def count_words(width: int) -> int:
    """Return K of readings with R numbers."""
    return (width - WORDS) // 2
