"""What is written down is so: links, paths, settings, commands, deployment files and the metrics they watch."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import temporalio.bridge.temporal_sdk_bridge as sdk_bridge
import typer
import yaml
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

import worker
from config import Settings
from starter import app
from workflows.intent import SEARCH_ATTRIBUTES

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NOT_OURS = {".venv", ".boot", ".git", ".infin8", "published", "node_modules"}
# Set by the platform or by Temporal's own loader, not by config.py.
NOT_SETTINGS = {"TEMPORAL_API_KEY", "TEMPORAL_TLS"}
README_LINES_MAX = 150


def _own(pattern: str) -> list[Path]:
    found = (path for path in ROOT.rglob(pattern) if not NOT_OURS.intersection(path.relative_to(ROOT).parts))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(ROOT).parts))


DOCUMENTS = _own("*.md")
YAML_FILES = [*DEPLOY.rglob("*.yaml")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Links and paths ---------------------------------------------------------------------------------------------------


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _anchors(document: Path) -> set[str]:
    """As code hosts make them of headings."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _link_is_good(document: Path, target: str) -> bool:
    path_text, _, anchor = target.partition("#")
    path = (document.parent / path_text).resolve() if path_text else document
    return path.exists() and (not anchor or anchor in _anchors(path))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", _without_code(document.read_text()))
    relative = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in relative if not _link_is_good(document, target)] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < README_LINES_MAX


def _paths_in_backticks(line: str) -> Iterator[str]:
    for token in re.findall(r"`([^`]+)`", line):
        looks_like_path = re.fullmatch(r"\.?[\w./-]+", token) and not token.startswith("/")
        is_placeholder = re.search(r"(^|/)[A-Z]+(/|$)", token) or token.startswith("published/")
        has_form = "/" in token or re.search(r"\.(py|sql|md|toml|lock|yaml)$", token)
        if looks_like_path and has_form and not is_placeholder:
            yield token


def _is_there(path: Path) -> bool:
    """A folder without a file does not survive a clone."""
    return path.is_file() or any(inner.is_file() and "__pycache__" not in inner.parts for inner in path.rglob("*"))


def _missing_paths(line: str) -> list[str]:
    """A short name is meant within a folder, or beside a file, that the same line names."""
    tokens = list(_paths_in_backticks(line))
    whole = [ROOT / token for token in tokens if _is_there(ROOT / token)]
    near = [ROOT, *whole, *(path.parent for path in whole)]
    return [token for token in tokens if not any(_is_there(folder / token) for folder in near)]


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"])
def test_every_path_in_backticks_exists(document: str) -> None:
    lines = enumerate((ROOT / document).read_text().splitlines(), start=1)
    assert [(number, path) for number, line in lines for path in _missing_paths(line)] == []


# Settings ----------------------------------------------------------------------------------------------------------


def _variables_of(name: str, field: FieldInfo) -> set[str]:
    alias = field.validation_alias
    if alias is None:
        return {f"INFIN8_{name.upper()}"}
    return {str(choice) for choice in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}


def _is_setting(variable: str) -> bool:
    for name, field in Settings.model_fields.items():
        for known in _variables_of(name, field):
            if variable == known:
                return True
            if variable.startswith(f"{known}__"):
                return _is_nested(field.annotation, variable.removeprefix(f"{known}__").lower().split("__"))
    return False


def _is_nested(model: Any, parts: list[str]) -> bool:
    if not parts:
        return True
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or parts[0] not in model.model_fields:
        return False
    return _is_nested(model.model_fields[parts[0]].annotation, parts[1:])


def _example_variables() -> list[str]:
    return re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def test_every_variable_of_the_example_is_a_setting() -> None:
    unknown = [variable for variable in _example_variables() if not _is_setting(variable)]
    assert set(unknown) <= NOT_SETTINGS


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_example(name: str) -> None:
    known = _variables_of(name, Settings.model_fields[name])
    shown = {variable for variable in _example_variables() for one in known if re.match(rf"{one}(__|$)", variable)}
    assert shown, f"add {' or '.join(sorted(known))} to .env.example"


SET_FOR_TESTS = {"INFIN8_CHAOS_SEED"}  # read by the fault bench, not by the product


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_documents_name_real_settings(document: Path) -> None:
    named = set(re.findall(r"\bINFIN8_[A-Z0-9_]*[A-Z0-9]\b", document.read_text()))
    assert {variable for variable in named if not _is_setting(variable)} <= SET_FOR_TESTS


# Commands ----------------------------------------------------------------------------------------------------------


@cache
def _options() -> dict[str, set[str]]:
    """Every command of the command line with its options."""
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        | {"--help"}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


def _calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Command and options of each `starter.py COMMAND …` in code, to the end of its line or span."""
    for command, rest in re.findall(r"starter\.py +([a-z][a-z-]*)([^`\n#|&;·]*)", text):
        yield command, re.findall(r"(?<!\S)(--[a-z][a-z-]*)", rest)


def _code(text: str) -> str:
    return "\n".join([*re.findall(r"```.*?```", text, flags=re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_command_and_option_named_exists(document: Path) -> None:
    calls = list(_calls(_code(document.read_text())))
    unknown = [command for command, _ in calls if command not in _options()]
    assert unknown == []
    assert [
        (command, option) for command, named in calls for option in named if option not in _options()[command]
    ] == []


def test_the_runbook_is_about_real_commands() -> None:
    """The check above would pass for a document it can't read."""
    named = {command for command, _ in _calls(_code((ROOT / "docs" / "runbook.md").read_text()))}
    assert {"status", "retry", "raise-cap", "cancel", "review", "approve", "doctor"} <= named


# Deployment --------------------------------------------------------------------------------------------------------


def _documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def _manifests(kind: str) -> list[dict[str, Any]]:
    found = [one for path in (DEPLOY / "kubernetes").glob("*.yaml") for one in _documents(path) if one["kind"] == kind]
    assert found, f"no {kind} in deploy/kubernetes"
    return found


def _variables_in(environment: dict[str, Any]) -> set[str]:
    return {name for name in environment if name not in NOT_SETTINGS}


@pytest.mark.parametrize("path", YAML_FILES, ids=_name)
def test_every_deployment_file_parses(path: Path) -> None:
    assert all(_documents(path))


def test_there_is_a_deployment_and_a_disruption_budget_for_every_role() -> None:
    roles = {str(role) for role in worker.Role}
    deployments = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in _manifests("Deployment")}
    assert set(deployments) == {f"infin8-{role}" for role in roles}
    assert {spec["containers"][0]["args"][-1] for spec in deployments.values()} == roles
    selected = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        for one in _manifests("PodDisruptionBudget")
    }
    assert selected == roles


def test_pods_outlive_a_drain_and_are_probed_and_closed() -> None:
    drain_seconds = float(_manifests("ConfigMap")[0]["data"]["INFIN8_DRAIN_SECONDS"])
    for deployment in _manifests("Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["terminationGracePeriodSeconds"] > drain_seconds >= Settings.model_fields["drain_seconds"].default
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]


def test_only_the_role_that_pays_holds_the_key_and_only_the_job_the_admin() -> None:
    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for kind in ("Deployment", "Job")
        for one in _manifests(kind)
    }
    secrets = {
        name: {source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"] if "secretRef" in source}
        for name, pod in pods.items()
    }
    assert [name for name, held in secrets.items() if "infin8-provider" in held] == ["infin8-llm"]
    assert [name for name, held in secrets.items() if "infin8-database-admin" in held] == ["infin8-prepare-database"]


def test_compose_runs_every_role_with_real_settings_and_all_search_attributes() -> None:
    services = _documents(DEPLOY / "compose.yaml")[0]["services"]
    roles = {service["command"][-1] for service in services.values() if "--role" in service.get("command", [])}
    assert roles == {str(role) for role in worker.Role}
    ours = [service for service in services.values() if service["image"] == "infin8content"]
    variables = {name for service in ours for name in _variables_in(service.get("environment", {}))}
    assert [name for name in variables if not _is_setting(name)] == []
    shown = [part.removeprefix("--search-attribute=") for part in services["temporal"]["command"]]
    assert {part for part in shown if not part.startswith("--")} - {"server", "start-dev"} == {
        f"{name}={kind}" for name, kind in SEARCH_ATTRIBUTES.items()
    }


def test_settings_of_the_manifests_are_real() -> None:
    variables = _variables_in(_manifests("ConfigMap")[0]["data"])
    in_image = set(re.findall(r"\b(INFIN8_[A-Z_]+)=", (DEPLOY / "Dockerfile").read_text()))
    assert [name for name in variables | in_image if not _is_setting(name)] == []


def _copied_folders() -> set[str]:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_the_image_holds_every_folder_that_runs() -> None:
    with_code = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert with_code <= _copied_folders()
    assert [name for name in _copied_folders() if not (ROOT / name).exists()] == []


def test_the_search_attributes_to_register_by_hand_are_all() -> None:
    named = re.findall(r"--name (\w+) --type (\w+)", (DEPLOY / "README.md").read_text())
    assert dict(named) == SEARCH_ATTRIBUTES


# Watching ----------------------------------------------------------------------------------------------------------


def _dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    return loaded


def _rules() -> list[dict[str, Any]]:
    (rules,) = _documents(DEPLOY / "monitoring" / "alerts.yaml")
    return [rule for group in rules["groups"] for rule in group["rules"]]


def _expressions() -> list[str]:
    panels = _dashboard()["panels"]
    return [*(rule["expr"] for rule in _rules()), *(target["expr"] for panel in panels for target in panel["targets"])]


def test_metrics_that_are_watched_are_metrics_that_the_sdk_has() -> None:
    names = {name for text in _expressions() for name in re.findall(r"\btemporal_([a-z_]+)", text)}
    library = Path(sdk_bridge.__file__).read_bytes()
    assert len(names) > 10
    assert [name for name in names if re.sub(r"_(bucket|count|sum)$", "", name).encode() not in library] == []


def test_alerts_point_at_a_heading_of_the_runbook() -> None:
    anchors = _anchors(ROOT / "docs" / "runbook.md")
    targets = [rule["annotations"]["runbook"].removeprefix("docs/runbook.md#") for rule in _rules()]
    assert [target for target in targets if target not in anchors] == []


def test_panels_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in _dashboard()["panels"]]
    assert len(ids) == len(set(ids))


# Glossary ----------------------------------------------------------------------------------------------------------


def test_the_glossary_is_sorted_and_says_each_word_once() -> None:
    words = re.findall(r"^- \*\*(.+?)\*\*: .", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    folded = [word.lower() for word in words]
    assert folded == sorted(set(folded))
    needed = {"attempt", "authorization", "hold", "settle", "void", "scope", "slot", "claim", "verdict", "hub", "spoke"}
    assert needed | {"seed", "icp", "unknown", "x_failed, x_pending, x_processing, x_completed"} <= set(folded)
