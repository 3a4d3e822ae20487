"""Other people's checkers, as processes: the Nu HTML checker and Adobe's structured data validator."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".judges" / "node_modules"
HTML_CHECKER = MODULES / "vnu-jar" / "build" / "dist" / "vnu.jar"
VALIDATOR = Path(__file__).with_name("validate.mjs")
VOCABULARY = MODULES / "schema-dts" / "dist" / "schema.d.ts"
TIMEOUT_SECONDS = 110


def why_not() -> str | None:
    """Why the judges can't judge here; None when they can."""
    missing = [program for program in ("java", "node") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    absent = [path for path in (HTML_CHECKER, MODULES / "@adobe", MODULES / "@marbec", VOCABULARY) if not path.exists()]
    return "judges not installed (make judges)" if absent else None


def html_messages(files: Sequence[Path]) -> dict[Path, list[dict[str, Any]]]:
    """Every message of the Nu checker by file, by one process for all of them."""
    command = ["java", "-Xss4m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", str(HTML_CHECKER)]
    options = ["--stdout", "--format", "json", "--exit-zero-always"]
    output = _output([*command, *options, *map(str, files)])
    found: dict[Path, list[dict[str, Any]]] = {path: [] for path in files}
    for message in json.loads(output)["messages"]:
        found[Path(re.sub(r"^file:/+", "/", message["url"]))].append(message)
    return found


def html_errors(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [f"line {one.get('lastLine')}: {one['message']}" for one in messages if one["type"] != "info"]


def structured_data_issues(files: Sequence[Path], vocabulary: Path) -> dict[Path, list[dict[str, Any]]]:
    """Every issue of the validator by file."""
    output = _output(["node", str(VALIDATOR), str(MODULES), str(vocabulary), *map(str, files)])
    return {Path(name): issues for name, issues in json.loads(output).items()}


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


# --- schema.org's vocabulary, as the package of its types renders it ---


@dataclass(frozen=True)
class Vocabulary:
    """Types with what they inherit from, and own properties with the types of their values."""

    parents: dict[str, tuple[str, ...]]
    properties: dict[str, dict[str, frozenset[str]]]


def read_vocabulary() -> Vocabulary:
    source = VOCABULARY.read_text(encoding="utf-8")
    parents: dict[str, tuple[str, ...]] = {}
    properties: dict[str, dict[str, frozenset[str]]] = defaultdict(dict)
    for match in re.finditer(r"interface (\w+)Base extends ([^{]+) \{(.*?)\n\}", source, re.DOTALL):
        name = _type_name(match[1])
        parents[name] = _bases(match[2])
        for key, kinds in re.findall(r'"([\w-]+)"\?: SchemaValue<([^,]*), "[^"]+">;', match[3]):
            properties[name][key] = frozenset(kind for kind in re.split(r"\s*\|\s*", kinds) if kind != "IdReference")
    for match in re.finditer(r"interface (\w+)Leaf extends ([^{]+) \{", source):
        parents.setdefault(_type_name(match[1]), _bases(match[2]))
    return Vocabulary(parents, dict(properties))


def _type_name(name: str) -> str:
    return name.removeprefix("_")


def _bases(text: str) -> tuple[str, ...]:
    return tuple(_type_name(name) for name in re.findall(r"(\w+)Base\b", text) if not name.startswith("www_"))


def write_vocabulary(path: Path) -> Path:
    """The vocabulary as the graph that the validator reads."""
    vocabulary = read_vocabulary()
    graph: list[dict[str, Any]] = [
        {"@id": f"schema:{name}", "@type": "rdfs:Class", "rdfs:subClassOf": [{"@id": f"schema:{one}"} for one in above]}
        for name, above in vocabulary.parents.items()
    ]
    domains: dict[str, list[str]] = defaultdict(list)
    for name, properties in vocabulary.properties.items():
        for key in properties:
            domains[key].append(name)
    graph += [
        {
            "@id": f"schema:{key}",
            "@type": "rdf:Property",
            "schema:domainIncludes": [{"@id": f"schema:{name}"} for name in names],
        }
        for key, names in domains.items()
    ]
    path.write_text(json.dumps({"@graph": graph}), encoding="utf-8")
    return path
