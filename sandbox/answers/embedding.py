"""Deterministic embeddings: hashed character n-grams, so that texts that share wording lie near each other."""

import hashlib
import math
import re
from collections import Counter

DEFAULT_DIMENSIONS = 1536
_GRAM_SIZES = (3, 4, 5)


def embed(text: str, dimensions: int = DEFAULT_DIMENSIONS) -> list[float]:
    """A unit vector of ``dimensions`` numbers; texts without a letter or digit share one fixed vector."""
    counts = Counter(_grams(text))
    vector = [0.0] * dimensions
    for gram, count in counts.items():
        digest = hashlib.blake2b(gram.encode(), digest_size=8).digest()
        place = int.from_bytes(digest[:6], "big") % dimensions
        vector[place] += (1.0 if digest[7] & 1 else -1.0) * (1 + math.log(count))
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0:
        return [1.0, *([0.0] * (dimensions - 1))]
    return [value / length for value in vector]


def _grams(text: str) -> list[str]:
    words = re.findall(r"\w+", text.lower())
    return [
        padded[start : start + size]
        for padded in (f" {word} " for word in words)
        for size in _GRAM_SIZES
        for start in range(len(padded) - size + 1)
    ]
