"""How alike two keywords are: by their letters (character n-gram TF-IDF), mixed with their meanings (embeddings) where
the settings name a model.

The same on every machine: letters and meanings alike are rounded to integers before they are multiplied, and sums of
integers below 2**53 are exact in floating point whatever the order a linear algebra library adds them in.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domain.embeddings import Vector
from domain.errors import BadInputError
from domain.keyphrases import folded
from domain.settings import ClusteringSettings, Embeddings

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
CENTRE_PRIOR = 20
_SCALE = 2**20
_VECTOR_SCALE = 2**8
_COLUMNS_PER_BLOCK = 1024
_RARE_TEXTS_MAX = 48

Matrix = NDArray[np.float64]


def method_of(settings: ClusteringSettings) -> str:
    """The similarity in use, in words."""
    if settings.embeddings is Embeddings.NONE:
        return METHOD
    return f"embeddings of {settings.embedding_model} with {METHOD}"


def similarities(texts: Sequence[str], vectors: Mapping[str, Vector], settings: ClusteringSettings) -> Matrix:
    """Similarities of all texts to all by the similarity in use, shape (n, n), 0 to 1; clustering and validation judge
    by it. That of two texts depends on which texts there are, not on their order. ``vectors`` are the stored ones of
    ``settings.embedding_model``; without embeddings they are not looked at.

    Raises BadInputError for a text without a vector.
    """
    letters = similarity_matrix(texts)
    if settings.embeddings is Embeddings.NONE or not texts:
        return letters
    weight = settings.embedding_weight
    mixed: Matrix = np.clip(weight * _meanings(texts, vectors, settings) + (1 - weight) * letters, 0.0, 1.0).round(6)
    np.fill_diagonal(mixed, 1.0)
    return mixed


def _meanings(texts: Sequence[str], vectors: Mapping[str, Vector], settings: ClusteringSettings) -> Matrix:
    """Cosines of the vectors, seen from where all of them together lie: what every keyword of a trade has in common
    tells none from another. Of few keywords the common place is little known, so it counts by half at
    ``CENTRE_PRIOR`` keywords. Measured, it makes models comparable: the same threshold suits them."""
    missing = [text for text in texts if text not in vectors]
    if missing:
        raise BadInputError(
            f"no vector of {settings.embedding_model} is stored for {missing[0]!r} ({len(missing)} of {len(texts)} "
            "texts lack one); the clustering step computes them: `review ID --reopen` leads back to it"
        )
    lengths = {len(vectors[text]) for text in texts}
    if len(lengths) > 1:
        raise BadInputError(f"the vectors of {settings.embedding_model} have different lengths: {sorted(lengths)}")
    rows = np.array([vectors[text] for text in texts], dtype=np.float64)
    centred = np.rint((rows - rows.sum(axis=0) / (len(texts) + CENTRE_PRIOR)) * _VECTOR_SCALE)
    return _cosines(centred @ centred.T)


def _cosines(products: Matrix) -> Matrix:
    lengths = np.sqrt(np.diag(products))
    lengths[lengths == 0] = 1.0
    cosines: Matrix = products / np.outer(lengths, lengths)
    return cosines


def similarity_matrix(texts: Sequence[str]) -> Matrix:
    """Similarities from 0 to 1 of all texts to all, shape (n, n), six decimals; the texts are the corpus."""
    counts = [_ngrams(text) for text in texts]
    inverse_frequencies = _inverse_frequencies(counts)
    columns = {ngram: column for column, ngram in enumerate(sorted(inverse_frequencies))}
    weights = [_weights(ngrams, inverse_frequencies) for ngrams in counts]
    entries = [(row, columns[ngram], weight) for row, one in enumerate(weights) for ngram, weight in one.items()]
    sums = _products(np.array(entries, dtype=np.int64).reshape(-1, 3), len(texts), len(columns))
    alike: Matrix = np.minimum(_cosines(sums), 1.0).round(6)
    np.fill_diagonal(alike, 1.0)
    return alike


def _products(entries: NDArray[np.int64], rows: int, columns: int) -> Matrix:
    """Products of all rows with all rows of a sparse matrix of (row, column, weight).

    Most n-grams stand in few texts: their products are added one column at a time, those of common ones as blocks.
    """
    sums = np.zeros((rows, rows), dtype=np.float64)
    entries = entries[np.argsort(entries[:, 1], kind="stable")]
    common: list[NDArray[np.int64]] = []
    for column in np.split(entries, np.searchsorted(entries[:, 1], np.arange(1, columns))):
        if len(column) > _RARE_TEXTS_MAX:
            common.append(column)
        else:
            texts, weights = column[:, 0], column[:, 2].astype(np.float64)
            sums[texts[:, None], texts] += np.multiply.outer(weights, weights)
    for first in range(0, len(common), _COLUMNS_PER_BLOCK):
        block = np.zeros((rows, _COLUMNS_PER_BLOCK), dtype=np.float64)
        for position, column in enumerate(common[first : first + _COLUMNS_PER_BLOCK]):
            block[column[:, 0], position] = column[:, 2]
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
