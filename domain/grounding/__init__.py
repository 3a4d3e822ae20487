"""Grounding: numbers, quotations, named sources and whole claims, each held against the sources that a text cites."""

from domain.grounding.claim_support import PreparedSource, Support, claim_spans, prepared, support
from domain.grounding.findings import (
    Claim,
    ClaimKind,
    claims,
    ungrounded,
    unknown_addresses,
    without_ungrounded,
)

__all__ = [
    "Claim",
    "ClaimKind",
    "PreparedSource",
    "Support",
    "claim_spans",
    "claims",
    "prepared",
    "support",
    "ungrounded",
    "unknown_addresses",
    "without_ungrounded",
]
