"""The worker: settings → pool and clients → activities → Temporal workers on their queues.

    worker.py [--role workflows,llm,web]

Read this file once to see what is plugged into what. SIGTERM and SIGINT drain: no new task is taken, and what runs,
paid calls above all, is finished.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError
from temporalio.worker import PollerBehaviorAutoscaling, Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.article import ArticleActivities, build_outline_request, build_section_request
from activities.cited_pages import CitedPageActivities
from activities.clustering import ClusteringActivities, KeywordEmbeddingActivities
from activities.competitor import (
    CompetitorActivities,
    SeedExtractionActivities,
    build_discovery_request,
    build_label_request,
)
from activities.embeddings import PaidEmbeddingActivities, build_embeddings_request
from activities.failures import FailureInterceptor
from activities.icp import IcpActivities, build_icp_request
from activities.keyword_data import KeywordDataActivities, build_keyword_data_request
from activities.publication_changes import PublicationChangeActivities, PublicationWishActivities
from activities.publish import ApprovalActivities, PublishActivities
from activities.reconciliation import ConsistencyActivities, IntentRuns, LookUpActivities, ReconciliationActivities
from activities.reminders import ReminderActivities, WebhookActivities
from activities.seed_review import SeedReviewActivities
from activities.sites import SiteActivities
from activities.spend import PaidCallActivities, RequestBuilder, SpendActivities
from activities.state import StateActivities
from activities.validation import ValidationActivities
from commands.exits import end_process
from commands.runs import run_arguments
from config import EmbeddingChoice, LogFormat, Settings, environment_has_temporal, load_settings, with_local_stack
from db.migrate import check_parity, migrate, pending_migrations
from db.pool import Database
from db.workflows import WorkflowRecord
from domain.brief import PublishTarget
from domain.errors import ConfigurationError, DatabaseUnavailableError, PipelineError, ProviderUnavailableError
from domain.progress import CallKind
from domain.publishing import Publisher
from telemetry import TelemetryInterceptor, configure_logging
from workflows.article import ArticleWorkflow
from workflows.intent import INTENT_STATE, SEARCH_ATTRIBUTES, IntentWorkflow
from workflows.intent import WORKFLOW_NAME as INTENT_WORKFLOW_NAME
from workflows.maintenance import Maintain, MaintenanceWorkflow
from workflows.policies import LLM_QUEUE_SUFFIX, WEB_QUEUE_SUFFIX
from workflows.publication_changes import PublicationChangeWorkflow
from workflows.schedule import ensure_schedule

if TYPE_CHECKING:
    from providers.keyword_data import KeywordData

log = structlog.get_logger("worker")

EXIT_BAD_INPUT = 2
EXIT_UNREACHABLE = 5
USER_AGENT = "Infin8ContentBot/1.0 (reads public pages for content research; honours robots.txt)"
PASSED_THROUGH = ("activities", "asyncpg", "aiohttp", "db", "domain", "numpy", "structlog", "yaml")


class Role(StrEnum):
    WORKFLOWS = "workflows"
    LLM = "llm"
    WEB = "web"


ALL_ROLES: tuple[Role, ...] = tuple(Role)

REQUEST_BUILDERS: dict[CallKind, RequestBuilder] = {
    CallKind.ICP: build_icp_request,
    CallKind.COMPETITOR_DISCOVERY: build_discovery_request,
    CallKind.COMPETITOR_LABELS: build_label_request,
    CallKind.KEYWORD_DATA: build_keyword_data_request,
    CallKind.EMBEDDINGS: build_embeddings_request,
    CallKind.ARTICLE_OUTLINE: build_outline_request,
    CallKind.ARTICLE_SECTION: build_section_request,
    CallKind.ARTICLE_REPAIR: build_section_request,
}


async def connect_temporal(settings: Settings, *, runtime: Runtime | None = None) -> Client:
    """By Temporal's own variables and profiles where they are set, else by our settings.

    Raises ConfigurationError without an address, ProviderUnavailableError when no server answers there.
    """
    config = ClientConfig.load_client_connect_config() if environment_has_temporal() else {}
    address = config.get("target_host") or settings.temporal_address
    if address is None:
        raise ConfigurationError(
            "no Temporal address: set TEMPORAL_ADDRESS, or run `starter.py up` for a server on this machine"
        )
    config = {"namespace": settings.temporal_namespace, **config, "target_host": address}
    try:
        return await Client.connect(**config, data_converter=pydantic_data_converter, runtime=runtime)
    except RuntimeError as error:
        raise ProviderUnavailableError(
            f"Temporal does not answer at {address}: check the address, or run `starter.py up`"
        ) from error


async def connect_database(settings: Settings) -> Database:
    if settings.postgres_dsn is None:
        raise ConfigurationError(
            "no database: set INFIN8_POSTGRES_DSN, or run `starter.py up` for a server on this machine"
        )
    return await Database.connect(settings.postgres_dsn.get_secret_value(), size_max=settings.postgres_connections_max)


async def connect_operator(settings: Settings) -> Database:
    """The operator's role: sees all organizations, changes rows through the money functions only."""
    if settings.postgres_operator_dsn is None:
        raise ConfigurationError("no operator's database: set INFIN8_POSTGRES_OPERATOR_DSN")
    return await Database.connect(settings.postgres_operator_dsn.get_secret_value(), size_max=3)


def intent_runs(client: Client, settings: Settings) -> IntentRuns:
    """Which runs are ours, and how the run of a row is started: as ``starter.py start`` does."""

    async def start(record: WorkflowRecord) -> str | None:
        handle = await client.start_workflow(IntentWorkflow.run, **run_arguments(settings, record))
        return handle.result_run_id

    return IntentRuns(client, settings.task_queue, INTENT_WORKFLOW_NAME, INTENT_STATE, start)


async def prepare_database(settings: Settings) -> None:
    """Migrate where the admin's address is known; safe for many workers starting at once."""
    if settings.postgres_admin_dsn is not None:
        applied = await migrate(settings.postgres_admin_dsn.get_secret_value())
        if applied:
            log.info("migrated", applied=len(applied), last=applied[-1])
    elif settings.postgres_dsn is not None:
        pending = await pending_migrations(settings.postgres_dsn.get_secret_value())
        if pending:
            raise ConfigurationError(
                f"the database lacks {len(pending)} migrations ({pending[0]} first): "
                "set INFIN8_POSTGRES_ADMIN_DSN and start again"
            )


async def check_search_attributes(client: Client) -> None:
    """An unregistered search attribute wedges a run, so that none starts without them."""
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        log.warning("search attributes not checked", error=str(error))
        return
    missing = [name for name in SEARCH_ATTRIBUTES if name not in known.custom_attributes]
    if missing:
        named = " ".join(f"--name {name} --type {SEARCH_ATTRIBUTES[name]}" for name in missing)
        raise ConfigurationError(
            f"Temporal lacks the search attributes {', '.join(missing)}: "
            f"run `temporal operator search-attribute create {named}`"
        )


class WorkerProcess:
    """What one worker process holds open, and the Temporal workers built on it."""

    def __init__(self, settings: Settings, client: Client, database: Database) -> None:
        self._settings = settings
        self._client = client
        self._database = database

    @asynccontextmanager
    async def workers(self, roles: Sequence[Role]) -> AsyncIterator[list[Worker]]:
        """Workers for these roles, each importing only the adapters it needs."""
        async with AsyncExitStack() as stack:
            workers: list[Worker] = []
            if Role.WORKFLOWS in roles:
                workers.append(self._workflow_worker(await self._maintenance(stack)))
            if Role.LLM in roles:
                workers.append(await self._llm_worker(stack))
            if Role.WEB in roles:
                workers.append(await self._web_worker(stack))
            yield workers

    async def _maintenance(self, stack: AsyncExitStack) -> Sequence[Callable[..., Any]]:
        """Activities that look at all tenants, where the operator's address is known; another worker serves them
        otherwise."""
        settings = self._settings
        if settings.postgres_operator_dsn is None:
            return []
        operator = await connect_operator(settings)
        stack.push_async_callback(operator.close)
        money = ReconciliationActivities(operator, settings.reconcile)
        runs = intent_runs(self._client, settings)
        every_seconds = settings.timeouts.heartbeat_every_seconds
        consistency = ConsistencyActivities(operator, runs, settings.reconcile, every_seconds)
        await self._schedule_maintenance()
        return [money.resolve_due, money.close_books, consistency.compare_runs]

    async def _schedule_maintenance(self) -> None:
        settings = self._settings
        maintain = Maintain(queue=settings.task_queue, timeouts=settings.timeouts)
        if not await ensure_schedule(self._client, maintain, settings.reconcile):
            log.warning(
                "no maintenance for this queue: the schedule serves another one; set INFIN8_RECONCILE__SCHEDULE_ID",
                schedule=settings.reconcile.schedule_id,
                queue=settings.task_queue,
            )

    def _workflow_worker(self, maintenance: Sequence[Callable[..., Any]]) -> Worker:
        settings, database = self._settings, self._database
        state, spend = StateActivities(database), SpendActivities(database, REQUEST_BUILDERS)
        icp, competitor = IcpActivities(database), CompetitorActivities(database)
        keyword_data, paid_embeddings = KeywordDataActivities(database), PaidEmbeddingActivities(database)
        review, clustering = SeedReviewActivities(database), ClusteringActivities(database)
        validation, article = ValidationActivities(database), ArticleActivities(database)
        approval = ApprovalActivities(database)
        wishes = PublicationWishActivities(database)
        return Worker(
            self._client,
            task_queue=settings.task_queue,
            workflows=[IntentWorkflow, ArticleWorkflow, MaintenanceWorkflow, PublicationChangeWorkflow],
            activities=[
                state.load_progress,
                state.begin_step,
                state.open_gate,
                state.fail_step,
                state.cancel_workflow,
                state.cancel_own_run,
                state.retry_step,
                state.reopen_review,
                state.raise_cap,
                state.redo_article,
                spend.authorize,
                spend.settle,
                icp.generate_icp,
                competitor.competitor_sites,
                competitor.judge_discovery,
                competitor.analyze_competitors,
                keyword_data.plan_keyword_data,
                keyword_data.judge_keyword_data,
                keyword_data.merge_keyword_data,
                review.apply_seed_review,
                ReminderActivities(database).remind,
                paid_embeddings.plan_embeddings,
                paid_embeddings.judge_embeddings,
                clustering.cluster_keywords,
                validation.validate_clusters,
                validation.override_clusters,
                article.plan_articles,
                article.load_article,
                article.judge_outline,
                article.judge_sections,
                article.assemble_article,
                article.fail_article,
                article.complete_articles,
                approval.approve_articles,
                approval.approve_automatically,
                approval.articles_to_publish,
                approval.publish_articles,
                wishes.begin_publication_change,
                wishes.changed_articles,
                *maintenance,
            ],
            workflow_runner=workflow_runner(),
            max_cached_workflows=settings.workflows_cached_max,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=settings.timeouts.sticky_seconds),
            max_concurrent_workflow_tasks=max(2, settings.workflow_task_slots),
            max_concurrent_activities=settings.database_slots,
            workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
            activity_task_poller_behavior=PollerBehaviorAutoscaling(),
            interceptors=interceptors(),
            graceful_shutdown_timeout=timedelta(seconds=settings.timeouts.database_seconds),
            deployment_config=deployment(settings),
        )

    async def _llm_worker(self, stack: AsyncExitStack) -> Worker:
        from providers.language_model import LanguageModel

        settings = self._settings
        language_model = LanguageModel(
            base_url=settings.model_url,
            api_key=settings.model_key,
            timeout_seconds=settings.steps.spend.call_timeout_seconds,
        )
        stack.push_async_callback(language_model.close)
        calls = PaidCallActivities(
            self._database,
            language_model,
            settings.timeouts.heartbeat_every_seconds,
            is_sandbox=settings.uses_sandbox,
            keyword_data=_keyword_data(settings, stack),
        )
        look_ups = LookUpActivities(language_model.look_up_cost, settings.timeouts.heartbeat_every_seconds)
        return Worker(
            self._client,
            task_queue=settings.task_queue + LLM_QUEUE_SUFFIX,
            activities=[calls.call_provider, look_ups.look_up_costs],
            max_concurrent_activities=settings.llm_slots,
            max_task_queue_activities_per_second=settings.llm_calls_per_second,
            activity_task_poller_behavior=PollerBehaviorAutoscaling(),
            interceptors=interceptors(),
            graceful_shutdown_timeout=timedelta(seconds=settings.drain_seconds),
        )

    async def _web_worker(self, stack: AsyncExitStack) -> Worker:
        from providers.embeddings import LocalEmbeddings, installed_model
        from providers.publisher import FilesPublisher
        from providers.web_pages import WebPages
        from providers.webhook import Webhook
        from providers.wordpress import WordPressPublisher

        settings = self._settings
        web_pages = WebPages(user_agent=USER_AGENT, site_overrides=settings.site_overrides)
        stack.push_async_callback(web_pages.close)
        webhook = Webhook(settings.reminder_webhook_url) if settings.reminder_webhook_url else None
        if webhook is not None:
            stack.push_async_callback(webhook.close)
        sites = SiteActivities(self._database, web_pages, settings.timeouts.heartbeat_every_seconds)
        cited = CitedPageActivities(self._database, web_pages, settings.timeouts.heartbeat_every_seconds)
        extraction = SeedExtractionActivities(self._database, settings.timeouts.heartbeat_every_seconds)
        local_model = LocalEmbeddings(installed_model())
        if settings.embeddings is not EmbeddingChoice.NONE:
            local_model.load_ahead()
        embeddings = KeywordEmbeddingActivities(self._database, local_model, settings.timeouts.heartbeat_every_seconds)
        word_press = WordPressPublisher(settings.wordpress)
        stack.push_async_callback(word_press.close)
        publishers: dict[PublishTarget, Publisher] = {
            PublishTarget.FILES: FilesPublisher(settings.output_dir),
            PublishTarget.WORDPRESS: word_press,
        }
        publish = PublishActivities(self._database, publishers, settings.timeouts.heartbeat_every_seconds)
        changes = PublicationChangeActivities(self._database, publishers, settings.timeouts.heartbeat_every_seconds)
        return Worker(
            self._client,
            task_queue=settings.task_queue + WEB_QUEUE_SUFFIX,
            activities=[
                sites.read_site,
                cited.read_cited_pages,
                extraction.extract_seed_keywords,
                embeddings.embed_keywords,
                publish.publish_article,
                publish.finish_site,
                publish.finish_publications,
                changes.change_publication,
                WebhookActivities(webhook).post_reminder,
            ],
            max_concurrent_activities=settings.web_slots,
            activity_task_poller_behavior=PollerBehaviorAutoscaling(),
            interceptors=interceptors(),
            graceful_shutdown_timeout=timedelta(seconds=settings.drain_seconds),
        )


def _keyword_data(settings: Settings, stack: AsyncExitStack) -> "KeywordData | None":
    """None without an account, or the sandbox in its place."""
    from providers.keyword_data import KeywordData

    account = settings.keyword_data_account
    if account is None:
        return None
    client = KeywordData(
        base_url=account.url,
        login=account.login,
        password=account.password,
        timeout_seconds=settings.steps.spend.call_timeout_seconds,
    )
    stack.push_async_callback(client.close)
    return client


def workflow_runner() -> SandboxedWorkflowRunner:
    """Third-party modules and our own pure ones pass through, or every workflow costs their imports again."""
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))


def interceptors() -> list[FailureInterceptor | TelemetryInterceptor]:
    return [TelemetryInterceptor(), FailureInterceptor()]


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    if settings.deployment_name is None or settings.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


@asynccontextmanager
async def health_server(settings: Settings, client: Client, database: Database) -> AsyncIterator[None]:
    """``/livez``: the event loop runs. ``/readyz``: database and Temporal answer."""
    if settings.health_port is None:
        yield
        return

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readyz(_: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(5), database.reading() as connection:
                await connection.fetchval("SELECT 1")
            healthy = await client.service_client.check_health()
        except (DatabaseUnavailableError, TimeoutError, RPCError) as error:
            return web.Response(status=503, text=f"not ready: {error}\n")
        return web.Response(text="ready\n") if healthy else web.Response(status=503, text="not ready\n")

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", settings.health_port).start()  # noqa: S104 -- probes come from outside
        yield
    finally:
        await runner.cleanup()


async def run_until_stopped(workers: Sequence[Worker], stop: asyncio.Event) -> None:
    """Until a signal, or until one worker dies; then all drain together."""
    runs = [asyncio.create_task(worker.run()) for worker in workers]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([*runs, stopping], return_when=asyncio.FIRST_COMPLETED)
    log.info("draining: what runs is finished")
    stopping.cancel()
    await asyncio.gather(*[worker.shutdown() for worker in workers])
    await asyncio.gather(*runs)


async def serve(settings: Settings, roles: Sequence[Role]) -> None:
    """Raises PipelineError when something needed is missing; returns after a graceful stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    await prepare_database(settings)
    async with AsyncExitStack() as stack:
        database = await connect_database(settings)
        stack.push_async_callback(database.close)
        await check_parity(database)
        client = await connect_temporal(settings, runtime=metrics_runtime(settings))
        await check_search_attributes(client)
        await stack.enter_async_context(health_server(settings, client, database))
        workers = await stack.enter_async_context(WorkerProcess(settings, client, database).workers(roles))
        if Role.WORKFLOWS in roles and settings.postgres_operator_dsn is None:
            log.warning("no maintenance by this worker: INFIN8_POSTGRES_OPERATOR_DSN is not set")
        log.info("worker up", roles=",".join(roles), queue=settings.task_queue)
        await run_until_stopped(workers, stop)


def metrics_runtime(settings: Settings) -> Runtime | None:
    if settings.metrics_port is None:
        return None
    address = f"0.0.0.0:{settings.metrics_port}"
    return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=address)))


def parse_roles(text: str) -> tuple[Role, ...]:
    try:
        return tuple(Role(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(f"--role {text!r} is not among {', '.join(ALL_ROLES)}") from error


async def run(role_text: str) -> None:
    roles = parse_roles(role_text)
    settings = await with_local_stack(load_settings())
    configure_logging(json=settings.log_format is LogFormat.JSON, level=settings.log_level, secrets=settings.secrets)
    await serve(settings, roles)


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs Infin8Content's workflows and activities.")
    parser.add_argument("--role", default=",".join(ALL_ROLES), help="workflows, llm, web; several by comma (all)")
    arguments = parser.parse_args()
    try:
        asyncio.run(run(arguments.role))
    except PipelineError as error:
        sys.stderr.write(f"worker: {error}\n")
        return EXIT_BAD_INPUT if isinstance(error, ConfigurationError) else EXIT_UNREACHABLE
    return 0


if __name__ == "__main__":
    end_process(main())
