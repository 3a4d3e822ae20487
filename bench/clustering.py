"""Quality of clustering on labelled texts: ``python -m bench.clustering PATH`` with CLINC150's ``data_full.json``.

Each of 20 samples holds 10 labels with 8 texts and 20 texts that stand alone, with random search volumes. Printed per
split are the means of BCubed F1 (a keyword that is left over counts as a group of its own), purity of the groups, and
coverage (share of keywords in groups), beside word overlap as the original pipeline did it and plain TF-IDF of words.
Thresholds were chosen on ``train``; ``test`` is what is reported.
"""

import json
import math
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from domain.clustering import Clustering, Keyword, average_linkage, cluster
from domain.settings import ClusteringSettings
from domain.similarity import Matrix
from domain.verdict import Blocked

SAMPLES = 20
LABELS = 10
TEXTS_PER_LABEL = 8
SINGLES = 20
PLAIN_THRESHOLD = 0.10
OVERLAP_MIN = 0.6
OVERLAP_SPOKES_MAX = 8

Labelled = list[tuple[Keyword, str]]
Algorithm = Callable[[list[Keyword]], list[list[str]]]


def sample(pairs: list[tuple[str, str]], seed: int) -> Labelled:
    """Keywords with their labels, in random order."""
    chosen = random.Random(seed)
    texts: dict[str, set[str]] = defaultdict(set)
    for text, label in pairs:
        texts[label].add(text)
    labels = sorted(texts)
    chosen.shuffle(labels)
    counts = [(label, TEXTS_PER_LABEL) for label in labels[:LABELS]]
    counts += [(label, 1) for label in labels[LABELS : LABELS + SINGLES]]
    drawn = {text: label for label, count in counts for text in chosen.sample(sorted(texts[label]), count)}
    keywords = [(Keyword(text=text, volume=chosen.randint(10, 5000)), label) for text, label in drawn.items()]
    chosen.shuffle(keywords)
    return keywords


def ours(keywords: list[Keyword]) -> list[list[str]]:
    result = cluster(keywords, ClusteringSettings())
    output = Clustering.model_validate(result.output) if isinstance(result, Blocked) else result.output
    groups = [[one.hub, *(spoke.text for spoke in one.spokes)] for one in output.clusters]
    return groups + [[leftover.text] for leftover in output.leftovers]


def plain_tf_idf(keywords: list[Keyword]) -> list[list[str]]:
    """Average linkage over TF-IDF of whole words."""
    texts = sorted(keyword.text for keyword in keywords)
    groups = average_linkage(_word_similarities(texts), PLAIN_THRESHOLD)
    return [[texts[position] for position in group] for group in groups]


def _word_similarities(texts: list[str]) -> Matrix:
    counts = [Counter(text.lower().split()) for text in texts]
    frequencies = Counter(word for count in counts for word in count)
    columns = {word: column for column, word in enumerate(sorted(frequencies))}
    matrix = np.zeros((len(texts), len(columns)))
    for row, count in enumerate(counts):
        for word, times in count.items():
            matrix[row, columns[word]] = times * (math.log((1 + len(texts)) / (1 + frequencies[word])) + 1)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix @ matrix.T).round(6)


def word_overlap(keywords: list[Keyword]) -> list[list[str]]:
    """As the original did it: the most searched keyword takes all that share enough words, until one finds too few."""
    left = sorted(keywords, key=lambda keyword: -(keyword.volume or 0))
    groups: list[list[str]] = []
    while len(left) >= 3:
        hub, *others = left
        scored = sorted(((_overlap(hub.text, one.text), one) for one in others), key=lambda pair: -pair[0])
        spokes = [one for score, one in scored if score >= OVERLAP_MIN][:OVERLAP_SPOKES_MAX]
        if len(spokes) < 2:
            break
        groups.append([hub.text, *(spoke.text for spoke in spokes)])
        left = [one for one in others if one not in spokes]
    return groups + [[one.text] for one in left]


def _overlap(first: str, second: str) -> float:
    """Shared words of all words, with a tenth for every pair of which one word holds the other."""
    ours_, theirs = ({word for word in text.lower().split() if len(word) > 2} for text in (first, second))
    if not ours_ or not theirs:
        return 0.0
    inside = sum(1 for one in ours_ for other in theirs if one != other and (one in other or other in one))
    return min(1.0, len(ours_ & theirs) / len(ours_ | theirs) + inside / 10)


def figures(groups: list[list[str]], labels: dict[str, str]) -> tuple[float, float, float]:
    """BCubed F1, purity and coverage."""
    sizes = Counter(labels.values())
    precision = recall = pure = covered = 0.0
    for group in groups:
        counts = Counter(labels[text] for text in group)
        precision += sum(count * count for count in counts.values()) / len(group)
        recall += sum(count * count / sizes[label] for label, count in counts.items())
        if len(group) > 1:
            pure += max(counts.values())
            covered += len(group)
    precision, recall = precision / len(labels), recall / len(labels)
    f1 = 2 * precision * recall / (precision + recall)
    return f1, pure / covered if covered else 1.0, covered / len(labels)


def measure(algorithm: Algorithm, samples: list[Labelled]) -> list[float]:
    rows = [
        figures(algorithm([keyword for keyword, _ in one]), {keyword.text: label for keyword, label in one})
        for one in samples
    ]
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m bench.clustering PATH_TO_data_full.json")
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    algorithms = {"ours": ours, "word overlap (original)": word_overlap, "TF-IDF of words": plain_tf_idf}
    print(f"{'split':6} {'algorithm':24} {'BCubed F1':>9} {'purity':>7} {'coverage':>9} {'F1 / original':>14}")
    for split in ("train", "test"):
        samples = [sample(data[split], seed) for seed in range(SAMPLES)]
        rows = {name: measure(algorithm, samples) for name, algorithm in algorithms.items()}
        for name, (f1, purity, coverage) in rows.items():
            ratio = f1 / rows["word overlap (original)"][0]
            print(f"{split:6} {name:24} {f1:9.3f} {purity:7.3f} {coverage:9.3f} {ratio:14.2f}")
    texts = [Keyword(text=text, volume=len(text)) for text in sorted({text for text, _ in data["train"]})[:1000]]
    began = time.perf_counter()
    cluster(texts, ClusteringSettings())
    print(f"1,000 keywords in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
