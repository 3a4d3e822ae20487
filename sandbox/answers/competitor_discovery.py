"""Competitors for a brief that names none: the sites served here whose text is nearest to the company's."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.answers import Blocks, SiteText
from sandbox.answers.article import host_of
from sandbox.answers.icp import brief_sentences
from sandbox.answers.text import content_stems, joined

_COMPETITORS_MAX = 5
_SIMILARITY_MIN = 0.08
_SHARE_OF_BEST_MIN = 0.5


def answer(blocks: Blocks, sites: Sequence[SiteText]) -> dict[str, Any]:
    brief = blocks.json("brief")
    wanted = content_stems(" ".join([*brief_sentences(brief), *_statements(blocks.json("icp", {}))]))
    own_host = host_of(str(brief["organization"]["url"]))
    others = [site for site in sites if host_of(site.url) != own_host]
    vectors = weighted([wanted, *(content_stems(site.text) for site in others)])
    scored = [(cosine(vectors[0], vector), site) for vector, site in zip(vectors[1:], others, strict=True)]
    scored.sort(key=lambda entry: (-entry[0], entry[1].url))
    least = max(_SIMILARITY_MIN, _SHARE_OF_BEST_MIN * (scored[0][0] if scored else 0.0))
    near = [site for score, site in scored[:_COMPETITORS_MAX] if score >= least]
    return {"competitors": [{"url": site.url, "why": _why(wanted, site)} for site in near]}


def weighted(texts: Sequence[Sequence[str]]) -> list[Mapping[str, float]]:
    """TF-IDF of each text's stems; what every text holds weighs little."""
    spread = Counter(name for text in texts for name in set(text))
    return [
        {name: (1 + math.log(count)) * math.log(1 + len(texts) / spread[name]) for name, count in Counter(text).items()}
        for text in texts
    ]


def cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    product = sum(value * other[name] for name, value in one.items() if name in other)
    lengths = math.hypot(*one.values()) * math.hypot(*other.values())
    return product / lengths if lengths else 0.0


def _statements(icp: Any) -> list[str]:
    names = ("industries", "pains", "goals")
    return [str(item) for name in names for item in (icp.get(name) or [])] if isinstance(icp, dict) else []


def _why(wanted: Sequence[str], site: SiteText) -> str:
    counts = Counter(content_stems(site.text))
    names = {name for name in wanted if counts[name] and len(name) > 3}
    shared = sorted(names, key=lambda name: (-counts[name], name))
    return f"Its pages speak of the same matters: {joined(shared[:3])}." if shared else "It is the nearest site here."
