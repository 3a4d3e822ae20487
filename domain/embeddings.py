"""Embeddings of keywords as they are stored and compared: whole numbers, so that no machine adds them up otherwise."""

import math
from collections.abc import Sequence
from typing import TypeAlias

from domain.errors import InvalidModelOutputError

PARTS = 32_767
# A vector of length 1 in whole numbers of -PARTS to PARTS.
Vector: TypeAlias = tuple[int, ...]


def unit_vector(numbers: Sequence[float]) -> Vector:
    """The vector at length 1, in whole parts of ``PARTS``; raises InvalidModelOutputError for one without direction
    (empty, all zero, or a number that is not finite)."""
    length = math.hypot(*numbers)
    if not math.isfinite(length) or length == 0:
        raise InvalidModelOutputError(f"an embedding of {len(numbers)} numbers has no direction; ask the model again")
    return tuple(round(number / length * PARTS) for number in numbers)
