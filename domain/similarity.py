"""How alike two keywords are, by their letters: character n-gram TF-IDF and the cosine.

The same on every machine: weights are rounded to integers before they are multiplied, and sums of integers below
2**53 are exact in floating point whatever the order a linear algebra library adds them in.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domain.keyphrases import folded

METHOD = "character TF-IDF"
NGRAM_LENGTHS = (3, 4, 5)
# What a keyword is about stands beside these: "invoice approval software" is nearer to "invoice approval process"
# than to "supplier portal software".
LIGHT_WORDS = frozenset(
    {
        *("software", "tool", "platform", "system", "solution", "service", "app", "program", "process", "workflow"),
        *("management", "automation", "automated", "online", "best", "guide", "checklist", "template", "example"),
        *("how", "to", "what", "is", "are", "a", "an", "the", "for", "of", "in"),
    }
)
LIGHT_WORD_WEIGHT = 0.5
_SCALE = 2**20
_FEATURES_PER_BLOCK = 4096

Matrix = NDArray[np.float64]


def similarity_matrix(texts: Sequence[str]) -> Matrix:
    """Similarities from 0 to 1 of all texts to all, shape (n, n), six decimals; the texts are the corpus."""
    counts = [_ngrams(text) for text in texts]
    inverse_frequencies = _inverse_frequencies(counts)
    columns = {ngram: column for column, ngram in enumerate(sorted(inverse_frequencies))}
    weights = [_weights(ngrams, inverse_frequencies) for ngrams in counts]
    entries = [(row, columns[ngram], weight) for row, one in enumerate(weights) for ngram, weight in one.items()]
    sums = _products(np.array(entries, dtype=np.int64).reshape(-1, 3), len(texts), len(columns))
    lengths = np.sqrt(np.diag(sums))
    lengths[lengths == 0] = 1.0
    similarities: Matrix = np.minimum(sums / np.outer(lengths, lengths), 1.0).round(6)
    np.fill_diagonal(similarities, 1.0)
    return similarities


def _products(entries: NDArray[np.int64], rows: int, columns: int) -> Matrix:
    """Products of all rows with all rows of a sparse matrix of (row, column, weight), a block of columns at a time."""
    sums = np.zeros((rows, rows), dtype=np.float64)
    for first in range(0, columns, _FEATURES_PER_BLOCK):
        inside = entries[(entries[:, 1] >= first) & (entries[:, 1] < first + _FEATURES_PER_BLOCK)]
        block = np.zeros((rows, _FEATURES_PER_BLOCK), dtype=np.float64)
        block[inside[:, 0], inside[:, 1] - first] = inside[:, 2]
        sums += block @ block.T
    return sums


def similarity(first: str, second: str, corpus: Sequence[str]) -> float:
    """Similarity of two texts with the weights of a corpus (texts, of which the two may be members)."""
    texts = list(dict.fromkeys([*corpus, first, second]))
    return float(similarity_matrix(texts)[texts.index(first), texts.index(second)])


def _ngrams(text: str) -> dict[str, float]:
    """N-grams of each word with a space on both sides, so that the edges of words count; of light words, by half."""
    ngrams: dict[str, float] = defaultdict(float)
    for word in folded(text).split():
        padded = f" {word} "
        weight = LIGHT_WORD_WEIGHT if word in LIGHT_WORDS else 1.0
        for length in NGRAM_LENGTHS:
            for start in range(max(1, len(padded) - length + 1)):
                ngrams[padded[start : start + length]] += weight
    return ngrams


def _inverse_frequencies(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    frequencies = Counter(ngram for ngrams in counts for ngram in ngrams)
    return {ngram: math.log((1 + len(counts)) / (1 + count)) + 1 for ngram, count in frequencies.items()}


def _weights(ngrams: Mapping[str, float], inverse_frequencies: Mapping[str, float]) -> dict[str, int]:
    """Weights of a text, of length 1 together, as integers of ``_SCALE`` parts."""
    raw = {ngram: _damped(count) * inverse_frequencies[ngram] for ngram, count in ngrams.items()}
    length = math.sqrt(math.fsum(weight * weight for weight in raw.values()))
    return {ngram: round(weight / length * _SCALE) for ngram, weight in raw.items()}


def _damped(count: float) -> float:
    """The second time an n-gram says less than the first."""
    return 1 + math.log(count) if count > 1 else count
