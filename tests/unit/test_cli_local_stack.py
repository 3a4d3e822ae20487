"""Who answers for the models, and what a worker of the local stack is told."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from commands.local_stack import (
    NOTE_FILE,
    Answers,
    WorkerNote,
    answers_of,
    read_note,
    settings_of_worker,
    with_answers,
    worker_environment,
)
from config import Settings

SANDBOX_URL = "http://127.0.0.1:4000"


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("INFIN8_LLM_API_KEY", "INFIN8_LLM_BASE_URL", "OPENROUTER_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def settings(**changes: object) -> Settings:
    return Settings().model_copy(
        update={
            "sandbox_url": SANDBOX_URL,
            "postgres_dsn": SecretStr("postgresql://x"),
            "temporal_address": "t:1",
            **changes,
        }
    )


KEY = SecretStr("sk-something")


@pytest.mark.parametrize(
    ("changes", "answers"),
    [
        ({}, Answers.SANDBOX),
        ({"openai_api_key": KEY}, Answers.OPENAI),
        ({"openrouter_api_key": KEY}, Answers.ACCOUNT),
        ({"llm_api_key": KEY, "openai_api_key": KEY}, Answers.OPENAI),
        ({"llm_base_url": "http://models.internal/v1"}, Answers.ACCOUNT),
        ({"openai_api_key": KEY, "llm_base_url": "http://models.internal/v1"}, Answers.ACCOUNT),
    ],
)
def test_who_answers(changes: dict[str, object], answers: Answers) -> None:
    assert answers_of(settings(**changes)) is answers
    assert answers_of(settings(**changes), sandbox_wanted=True) is Answers.SANDBOX


@pytest.mark.parametrize("theirs", [{}, {"openai_api_key": KEY}, {"llm_base_url": "http://models.internal/v1"}])
@pytest.mark.parametrize("answers", list(Answers))
def test_step_settings_follow_the_worker_that_will_do_the_work(theirs: dict[str, object], answers: Answers) -> None:
    adapted = with_answers(settings(**theirs), answers)
    assert answers_of(adapted) is answers
    steps = adapted.step_settings(auto_approve_seeds=False)
    assert steps.is_demo_text is (answers is Answers.SANDBOX)
    assert (steps.icp.route.models == ("gpt-4o-mini",)) is (answers is Answers.OPENAI)


def test_a_sandbox_worker_never_gets_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("INFIN8_LLM_API_KEY", "sk-secret")
    environment = worker_environment(settings(), Answers.SANDBOX)
    assert "sk-secret" not in environment.values()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told = Settings()
    assert told.model_url == f"{SANDBOX_URL}/v1"
    assert told.model_key.get_secret_value() != "sk-secret"


def test_a_sandbox_worker_never_gets_a_key_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-secret\nINFIN8_LLM_BASE_URL=http://models.internal/v1\n")
    for name, value in worker_environment(settings(), Answers.SANDBOX).items():
        monkeypatch.setenv(name, value)
    assert Settings().model_url == f"{SANDBOX_URL}/v1"
    assert Settings().model_key.get_secret_value() != "sk-secret"


def test_an_account_worker_keeps_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    for name, value in worker_environment(settings(), Answers.OPENAI).items():
        monkeypatch.setenv(name, value)
    assert Settings().model_key.get_secret_value() == "sk-secret"
    assert not Settings().uses_sandbox


def test_a_worker_speaks_to_its_stack_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "production:7233")
    monkeypatch.setenv("TEMPORAL_PROFILE", "production")
    monkeypatch.setenv("TEMPORAL_API_KEY", "secret")
    environment = worker_environment(settings(), Answers.SANDBOX)
    assert environment["TEMPORAL_ADDRESS"] == "t:1"
    assert not {"TEMPORAL_PROFILE", "TEMPORAL_API_KEY"} & set(environment)


def test_the_note_of_a_dead_owner_counts_for_nothing(tmp_path: Path) -> None:
    assert read_note(tmp_path) is None
    note = WorkerNote(owner=os.getpid(), command="up", answers=Answers.OPENAI, queue="infin8")
    (tmp_path / NOTE_FILE).write_text(note.model_dump_json())
    assert read_note(tmp_path) == note
    (tmp_path / NOTE_FILE).write_text(note.model_copy(update={"owner": 2**22 + 1}).model_dump_json())
    assert read_note(tmp_path) is None
    (tmp_path / NOTE_FILE).write_text("{")
    assert read_note(tmp_path) is None


def test_a_start_beside_a_worker_with_an_account_makes_no_demo_text(tmp_path: Path) -> None:
    note = WorkerNote(owner=os.getpid(), command="up", answers=Answers.OPENAI, queue="infin8")
    (tmp_path / NOTE_FILE).write_text(note.model_dump_json())
    here = settings(state_dir=tmp_path)
    assert here.uses_sandbox
    assert not settings_of_worker(here).step_settings(auto_approve_seeds=False).is_demo_text
    remote = settings(state_dir=tmp_path, sandbox_url=None, openrouter_api_key=KEY)
    assert settings_of_worker(remote) is remote
