"""An export of a workflow: which files it has and what is in them. Writing them is the command's part.

The same state gives the same bytes, so two exports can be compared by their manifests. Money is text, times are aware
UTC, identifiers and hashes are text.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.money import Frozen

EXPORT_KIND = "infin8 export"
EXPORT_VERSION = 1
MANIFEST_FILE = "manifest.json"
ARTICLES_FOLDER = "articles"
# What spreadsheets take for the beginning of a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_SAFE_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
NAME_CHARACTERS_MAX = 80


class Missing(Frozen):
    """What an export would hold and does not yet, and why."""

    path: str
    reason: str


class Export(Frozen):
    """``files`` by their paths within the export, the manifest not among them."""

    workflow_id: UUID
    organization_id: UUID
    name: str
    state: str
    workflow_version: int
    as_of: datetime
    files: dict[str, str]
    missing: tuple[Missing, ...] = ()

    @property
    def manifest(self) -> dict[str, Any]:
        """With size and SHA-256 of every file."""
        return {
            "kind": EXPORT_KIND,
            "version": EXPORT_VERSION,
            "workflow_id": str(self.workflow_id),
            "organization_id": str(self.organization_id),
            "name": self.name,
            "state": self.state,
            "workflow_version": self.workflow_version,
            "as_of": self.as_of.isoformat(),
            "files": [_file_facts(path, text) for path, text in sorted(self.files.items())],
            "missing": [one.model_dump() for one in self.missing],
        }

    @property
    def all_files(self) -> dict[str, bytes]:
        """As they are written, the manifest first."""
        texts = {MANIFEST_FILE: json_text(self.manifest), **dict(sorted(self.files.items()))}
        return {path: text.encode() for path, text in texts.items()}


def _file_facts(path: str, text: str) -> dict[str, Any]:
    content = text.encode()
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def is_export_manifest(text: str) -> bool:
    """Whether a file is the manifest of an export, so that its folder may be replaced by a newer one."""
    try:
        facts = json.loads(text)
    except ValueError:
        return False
    return isinstance(facts, dict) and facts.get("kind") == EXPORT_KIND


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """RFC 4180 with line feeds; text that a spreadsheet would calculate gets an apostrophe before it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: _cell(row.get(name)) for name in columns} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(?:\.\d+)?", text) is not None


def article_path(slug: str | None, article_id: UUID, ending: str) -> str:
    """By the slug where it is one, else by the id: no name from outside becomes a path."""
    is_safe = slug is not None and len(slug) <= NAME_CHARACTERS_MAX and _SAFE_NAME.fullmatch(slug) is not None
    return f"{ARTICLES_FOLDER}/{slug if is_safe else article_id}.{ending}"
