"""Quality gates: pure functions from a document to a verdict with concrete spans and fixes."""

from domain.quality.gates import check, repairable_sections

__all__ = ["check", "repairable_sections"]
