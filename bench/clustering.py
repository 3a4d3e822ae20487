"""Quality of clustering on labelled texts: ``python -m bench.clustering PATH`` with CLINC150's ``data_full.json``.

Each of 20 samples holds 10 labels with 8 texts and 20 texts that stand alone, with random search volumes. Printed are
means of BCubed F1 (a keyword that is left over counts as a group of its own), purity of the groups, coverage (share of
keywords in groups), and how many of the pairs of one label a similarity finds at 5 % false alarms; beside word overlap
as the original pipeline did it and plain TF-IDF of words. Thresholds were chosen on ``train``; ``test`` is what is
reported. Harder: ``short`` has the shortest texts of each label, ``bank`` and ``work`` the labels of one trade each,
``small`` 3 labels with 5 texts and 5 alone, ``lists`` the keywords of six trades of ``keyword_lists.yaml``.
"""

import json
import math
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import yaml

from domain.clustering import Clustering, Keyword, average_linkage, cluster
from domain.embeddings import Vector, unit_vector
from domain.settings import ClusteringSettings, Embeddings, StepSettings, with_embeddings
from domain.similarity import Matrix, similarities
from domain.verdict import Blocked
from providers.embeddings import LocalEmbeddings, installed_model

SAMPLES = 20
LABELS = 10
TEXTS_PER_LABEL = 8
SINGLES = 20
PLAIN_THRESHOLD = 0.10
OVERLAP_MIN = 0.6
OVERLAP_SPOKES_MAX = 8
FALSE_ALARMS = 0.05
NOISE = 1e-6
LISTS = Path(__file__).with_name("keyword_lists.yaml")

BANK = frozenset(
    """account_blocked apr balance bill_balance bill_due card_declined credit_limit credit_limit_change credit_score
    damaged_card direct_deposit exchange_rate expiration_date freeze_account improve_credit_score income interest_rate
    international_fees min_payment new_card order_checks pay_bill pin_change redeem_rewards replacement_card_duration
    report_fraud report_lost_card rewards_balance rollover_401k routing spending_history taxes transactions transfer
    w2""".split()  # noqa: SIM905
)
WORK = frozenset(
    """pto_balance pto_request pto_request_status pto_used direct_deposit w2 taxes payday income rollover_401k
    schedule_meeting meeting_schedule insurance insurance_change next_holiday calendar calendar_update reminder
    reminder_update todo_list todo_list_update shopping_list shopping_list_update timer alarm""".split()  # noqa: SIM905
)

Labelled = list[tuple[Keyword, str]]
Vectors = Mapping[str, Vector]
Algorithm = Callable[[list[Keyword]], list[list[str]]]
Alike = Callable[[list[str]], Matrix]
Pairs = list[tuple[str, str]]


# Labelled texts ------------------------------------------------------------------------------------------------------


def sample(
    pairs: Pairs, seed: int, *, labels: int = LABELS, each: int = TEXTS_PER_LABEL, alone: int = SINGLES
) -> Labelled:
    """Keywords with their labels, in random order."""
    chosen = random.Random(seed)
    texts: dict[str, set[str]] = defaultdict(set)
    for text, label in pairs:
        texts[label].add(text)
    names = sorted(texts)
    chosen.shuffle(names)
    counts = [(label, each) for label in names[:labels]]
    counts += [(label, 1) for label in names[labels : labels + alone]]
    drawn = {text: label for label, count in counts for text in chosen.sample(sorted(texts[label]), count)}
    keywords = [(Keyword(text=text, volume=chosen.randint(10, 5000)), label) for text, label in drawn.items()]
    chosen.shuffle(keywords)
    return keywords


def shortest(pairs: Pairs, count: int = 12) -> Pairs:
    """The shortest texts of each label: as keywords are."""
    by_label: dict[str, set[str]] = defaultdict(set)
    for text, label in pairs:
        by_label[label].add(text)
    ordered = {label: sorted(texts, key=lambda text: (len(text.split()), text)) for label, texts in by_label.items()}
    return [(text, label) for label, texts in ordered.items() for text in texts[:count]]


def keyword_lists() -> list[Labelled]:
    """The trades of ``keyword_lists.yaml``; what stands alone has a label of its own."""
    trades = yaml.safe_load(LISTS.read_text(encoding="utf-8"))
    return [list(_keywords_of(trade, groups)) for trade, groups in trades.items()]


def _keywords_of(trade: str, groups: dict[str, list[str]]) -> Iterator[tuple[Keyword, str]]:
    chosen = random.Random(trade)
    for label, texts in groups.items():
        for text in texts:
            yield Keyword(text=text, volume=chosen.randint(10, 5000)), text if label == "alone" else label


def sets(data: dict[str, Pairs]) -> dict[str, list[Labelled]]:
    test = data["test"]

    def only(labels: frozenset[str]) -> Pairs:
        return [(text, label) for text, label in test if label in labels]

    return {
        "train": [sample(data["train"], seed) for seed in range(SAMPLES)],
        "test": [sample(test, seed) for seed in range(SAMPLES)],
        "short": [sample(shortest(test), seed) for seed in range(SAMPLES)],
        "bank": [sample(only(BANK), seed) for seed in range(SAMPLES)],
        "work": [sample(only(WORK), seed, alone=15) for seed in range(SAMPLES)],
        "small": [sample(test, seed, labels=3, each=5, alone=5) for seed in range(SAMPLES)],
        "lists": keyword_lists(),
    }


# Algorithms ----------------------------------------------------------------------------------------------------------


def ours(keywords: list[Keyword], settings: ClusteringSettings, vectors: Vectors) -> list[list[str]]:
    result = cluster(keywords, settings, vectors)
    output = Clustering.model_validate(result.output) if isinstance(result, Blocked) else result.output
    groups = [[one.hub, *(spoke.text for spoke in one.spokes)] for one in output.clusters]
    return groups + [[leftover.text] for leftover in output.leftovers]


def plain_tf_idf(keywords: list[Keyword]) -> list[list[str]]:
    """Average linkage over TF-IDF of whole words."""
    texts = sorted(keyword.text for keyword in keywords)
    groups = average_linkage(word_similarities(texts), PLAIN_THRESHOLD)
    return [[texts[position] for position in group] for group in groups]


def word_similarities(texts: list[str]) -> Matrix:
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


# Figures -------------------------------------------------------------------------------------------------------------


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


def pairs_found(alike: Alike, samples: list[Labelled]) -> float:
    """Share of the pairs of one label above the similarity that 5 % of the other pairs reach."""
    same: list[Matrix] = []
    other: list[Matrix] = []
    for one in samples:
        labels = np.array([label for _, label in one])
        above = np.triu_indices(len(one), 1)
        values, is_same = alike([keyword.text for keyword, _ in one])[above], (labels[:, None] == labels)[above]
        same.append(values[is_same])
        other.append(values[~is_same])
    return float(np.mean(np.concatenate(same) > np.quantile(np.concatenate(other), 1 - FALSE_ALARMS)))


def changed_by_noise(samples: list[Labelled], settings: ClusteringSettings, numbers: Mapping[str, list[float]]) -> int:
    """Samples that come out otherwise when the model's numbers differ as they may between machines."""
    chosen = np.random.default_rng(1)

    def noisy(text: str) -> Vector:
        return unit_vector(
            (np.array(numbers[text]) * (1 + NOISE * chosen.standard_normal(len(numbers[text])))).tolist()
        )

    changed = 0
    for one in samples:
        keywords = [keyword for keyword, _ in one]
        exact = {keyword.text: unit_vector(numbers[keyword.text]) for keyword in keywords}
        other = {keyword.text: noisy(keyword.text) for keyword in keywords}
        changed += ours(keywords, settings, exact) != ours(keywords, settings, other)
    return changed


# Printed -------------------------------------------------------------------------------------------------------------


def print_set(name: str, samples: list[Labelled], settings: dict[str, ClusteringSettings], vectors: Vectors) -> None:
    def similar(chosen: ClusteringSettings) -> Alike:
        return lambda texts: similarities(texts, vectors, chosen)

    def grouped(chosen: ClusteringSettings) -> Algorithm:
        return lambda keywords: ours(keywords, chosen, vectors)

    algorithms = {title: (grouped(chosen), similar(chosen)) for title, chosen in settings.items()}
    algorithms["TF-IDF of words"] = (plain_tf_idf, word_similarities)
    original = measure(word_overlap, samples)
    print(f"{name:6} {'word overlap (original)':26} {original[0]:9.3f} {original[1]:7.3f} {original[2]:9.3f}")
    for title, (algorithm, alike) in algorithms.items():
        f1, purity, coverage = measure(algorithm, samples)
        found = pairs_found(alike, samples)
        print(f"{name:6} {title:26} {f1:9.3f} {purity:7.3f} {coverage:9.3f} {found:9.2f} {f1 / original[0]:10.2f}")


def print_seconds(texts: list[str], settings: dict[str, ClusteringSettings], local: LocalEmbeddings) -> None:
    for count in (1000, 5000):
        chosen = [Keyword(text=text, volume=len(text)) for text in texts[:count]]
        began = time.perf_counter()
        vectors: Vectors = {}
        if local.model:
            vectors = {text: unit_vector(vector) for text, vector in local.embed(texts[:count]).items()}
        embedded = time.perf_counter()
        for title, one in settings.items():
            start = time.perf_counter()
            cluster(chosen, one, vectors)
            print(f"{len(chosen):,} keywords, {title}: {time.perf_counter() - start:.2f} s")
        print(f"{len(chosen):,} keywords embedded: {embedded - began:.2f} s")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m bench.clustering PATH_TO_data_full.json")
    data = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    local = LocalEmbeddings(installed_model())
    settings = {"character TF-IDF": ClusteringSettings()}
    made = sets(data)
    numbers: dict[str, list[float]] = {}
    if local.model:
        mixed = with_embeddings(StepSettings(), Embeddings.LOCAL, local.model).clustering
        settings["embeddings, mixed"] = mixed
        settings["embeddings alone"] = mixed.model_copy(update={"embedding_weight": 1.0})
        numbers = local.embed([keyword.text for samples in made.values() for one in samples for keyword, _ in one])
    vectors = {text: unit_vector(vector) for text, vector in numbers.items()}
    print(f"embeddings: {local.model}")
    print(
        f"{'set':6} {'algorithm':26} {'BCubed F1':>9} {'purity':>7} {'coverage':>9} {'pairs@5%':>9} {'F1 / orig.':>10}"
    )
    for name, samples in made.items():
        print_set(name, samples, settings, vectors)
    if local.model:
        changed = changed_by_noise(made["test"], settings["embeddings, mixed"], numbers)
        print(f"{changed} of {SAMPLES} samples of test change when every number of the model is off by {NOISE:g}")
    print_seconds(sorted({text for split in ("train", "test") for text, _ in data[split]}), settings, local)


if __name__ == "__main__":
    main()
