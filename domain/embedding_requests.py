"""Requests for embeddings to a paid provider, and the vectors in its answers.

Vectors travel as base64: a fourth of the bytes that numbers in decimal take, and exact.
"""

import base64
import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from domain.language import InvalidAnswerError
from domain.spend import Endpoint, ProviderRequest

EMBEDDINGS_PATH = "/embeddings"
REQUEST_VERSION = "embeddings-1"
STEP = "clustering"
BATCH_TEXTS_MAX = 64
NUMBERS_MAX = 8192


def batches_of(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Each text once, in one order whatever order they came in, at most ``BATCH_TEXTS_MAX`` together."""
    ordered = sorted({text for text in texts if text.strip()})
    starts = range(0, len(ordered), BATCH_TEXTS_MAX)
    return tuple(tuple(ordered[start : start + BATCH_TEXTS_MAX]) for start in starts)


def build_request(model: str, texts: Sequence[str]) -> ProviderRequest:
    body = {"model": model, "input": list(texts), "encoding_format": "base64"}
    return ProviderRequest(
        endpoint=Endpoint.EMBEDDINGS,
        model=model,
        path=EMBEDDINGS_PATH,
        body=json.dumps(body, ensure_ascii=False, sort_keys=True),
        messages=len(texts),
        max_tokens=0,
    )


def request_slot_hash(slot: str, request: ProviderRequest) -> str:
    """What makes two requests of a slot the same; the model is part of it, for another one's vectors mean something
    else."""
    return hashlib.sha256("\x1f".join((STEP, slot, REQUEST_VERSION, request.body)).encode()).hexdigest()


def texts_of(request_body: str) -> tuple[str, ...]:
    """The texts that a stored request asked about, in its order."""
    return tuple(json.loads(request_body)["input"])


def has_every_embedding(answer: Mapping[str, Any], texts: int | None) -> bool:
    """Whether an answer that was read holds one embedding for each of ``texts`` texts, or for each that it counts;
    whether they are any good is for ``read_vectors`` to say."""
    data = answer.get("data")
    if not isinstance(data, list) or not data or (texts is not None and len(data) != texts):
        return False
    if not all(isinstance(item, dict) and item.get("embedding") for item in data):
        return False
    return {item.get("index") for item in data} == set(range(len(data)))


def read_vectors(answer_body: str, texts: Sequence[str]) -> dict[str, list[float]]:
    """The vector of each text. Raises InvalidAnswerError unless every text has exactly one, all of one length, none
    without a direction."""
    try:
        data = json.loads(answer_body)["data"]
        vectors = {int(item["index"]): _numbers(item["embedding"]) for item in data}
    except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError, struct.error) as error:
        raise InvalidAnswerError(f"the answer holds no embeddings that can be read ({type(error).__name__})") from None
    if len(data) != len(texts) or set(vectors) != set(range(len(texts))):
        raise InvalidAnswerError(f"the answer holds {len(data)} embeddings of {len(texts)} texts")
    lengths = {len(vector) for vector in vectors.values()}
    if len(lengths) != 1 or not 0 < max(lengths) <= NUMBERS_MAX:
        raise InvalidAnswerError(f"the answer's embeddings have {sorted(lengths)} numbers; they must have as many each")
    for place, vector in vectors.items():
        length = math.hypot(*vector)
        if not math.isfinite(length) or length == 0:
            raise InvalidAnswerError(f"the answer's embedding of {texts[place]!r} has no direction")
    return {text: vectors[place] for place, text in enumerate(texts)}


def _numbers(value: Any) -> list[float]:
    """Little-endian floats of four bytes in base64, or a list of numbers from a provider that knows no base64."""
    if isinstance(value, str):
        raw = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return [float(number) for number in value]
