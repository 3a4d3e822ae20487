"""Quality gates: pure functions from a document or a file to findings with concrete spans and fixes."""

from domain.quality.article_file import ArticleFile, CheckOptions, FileReport, check_file, decoded, read_article_file
from domain.quality.findings import Finding, Span
from domain.quality.gates import check, repairable_sections

__all__ = [
    "ArticleFile",
    "CheckOptions",
    "FileReport",
    "Finding",
    "Span",
    "check",
    "check_file",
    "decoded",
    "read_article_file",
    "repairable_sections",
]
