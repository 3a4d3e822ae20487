"""The command line: the names, options and help of every command. ``commands/`` does the work.

    .venv/bin/python starter.py --help

Exit codes: 0 done, 2 bad input or usage, 3 not found, 4 conflict, 5 a needed server can't be reached, 6 the run that
was waited for failed or was cancelled, 130 interrupted. Errors are one line; under ``--json`` one object on standard
error.
"""

import asyncio
import getpass
import io
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from commands.session import Session
    from commands.terminal import Terminal
    from config import Settings

SHOWS_TRACEBACKS = "DEBUG"
TRY, RUN, DECIDE, LOOK, OPERATE = "Trying out", "Runs", "People's decisions", "Looking", "Operating"
Articles = Annotated[
    list[str] | None,
    typer.Option("--articles", metavar="WHICH", help="numbers, slugs or ids; all that can be otherwise"),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="kept in the audit")]


class CommandLine(TyperGroup):
    """Every error ends here: one line or object on standard error, and its exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002 -- typer's own signature; errors always end here
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(arguments, prog_name or "starter.py", complete_var, False, windows_expand_args, **extra)
        except Exception as error:  # whatever it is, a person gets one line
            code = _told(error, as_json="--json" in arguments)
        except KeyboardInterrupt:
            code = 130
        sys.exit(int(code or 0))


def _told(error: Exception, *, as_json: bool) -> int:
    from commands.exits import CommandError, ExitCode, report_of
    from commands.terminal import Terminal

    if isinstance(error, typer.TyperException):
        context: typer.Context | None = getattr(error, "ctx", None)
        command = "".join(f" {name}" for name in _command_path(context))
        message = f"{error.format_message().rstrip('.')} (see `starter.py{command} --help`)"
        error = CommandError("UsageError", message, ExitCode.BAD_INPUT)
    elif isinstance(error, typer.Abort):
        error = CommandError("Interrupted", "interrupted", ExitCode.INTERRUPTED)
    report = report_of(error)
    Terminal(as_json=as_json).error(report.message, report.as_object())
    if report.exit_code is ExitCode.DEFECT and os.environ.get("INFIN8_LOG_LEVEL", "").upper() == SHOWS_TRACEBACKS:
        import traceback

        traceback.print_exception(error)
    return report.exit_code


def _command_path(context: Any) -> list[str]:
    """The command's name after those of the groups it is in."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return names


app = typer.Typer(
    cls=CommandLine,
    help="Infin8Content: from a company brief to published articles. Begin with `starter.py demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Workflow = Annotated[str, typer.Argument(metavar="ID", help="id, its beginning (4 characters or more), or the name")]
Json = Annotated[bool, typer.Option("--json", help="one JSON value on standard output")]
Actor = Annotated[str | None, typer.Option("--as", metavar="NAME", help="who decides; your user name otherwise")]
Wait = Annotated[bool, typer.Option("--wait", help="follow the run until it rests; 6 when it failed")]


def run(work: "Callable[[Session], Awaitable[int]]", *, json: bool = False, actor: str | None = None) -> NoReturn:
    """Carry a command out against the servers that settings, or the stack of this folder, name."""
    from commands.session import Session
    from config import with_local_stack

    async def whole(settings: "Settings", terminal: "Terminal") -> int:
        async with Session(await with_local_stack(settings), terminal, actor or getpass.getuser()) as session:
            return await work(session)

    run_alone(whole, json=json)


def run_alone(work: "Callable[[Settings, Terminal], Awaitable[int]]", *, json: bool = False) -> NoReturn:
    """Carry a command out that brings its own servers up, or needs none."""
    from commands.logs import logging_to_standard_error
    from commands.terminal import Terminal
    from config import load_settings

    settings = load_settings()
    try:
        with logging_to_standard_error(settings, as_json=json):
            code = asyncio.run(_awaited(work(settings, Terminal(as_json=json))))
    except (KeyboardInterrupt, asyncio.CancelledError):
        from commands.exits import CommandError, ExitCode

        raise CommandError("Interrupted", "interrupted", ExitCode.INTERRUPTED) from None
    raise typer.Exit(code)


async def _awaited(work: Awaitable[int]) -> int:
    return await work


# Trying out ------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=TRY)
def demo(
    brief: Annotated[Path, typer.Option("--brief", metavar="FILE", help="another brief")] = Path(
        "briefs/harborline.yaml"
    ),
    json: Json = False,
) -> None:
    """A brief through all seven steps to published pages, on this machine, without an account."""
    from commands.demo import demo as demo_
    from commands.starting import BriefFlags, read_brief

    parsed = read_brief(brief, BriefFlags())
    _forget_other_temporal()
    run_alone(lambda settings, terminal: demo_(settings, terminal, parsed, actor=getpass.getuser()), json=json)


@app.command(rich_help_panel=TRY)
def up(
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="with a worker, or servers only")] = True,
    sites: Annotated[
        list[Path] | None,
        typer.Option("--sites", metavar="DIR", help="more sites: DIR/NAME/index.html for NAME.example"),
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="the sandbox answers for the models, also when a key is set")
    ] = False,
) -> None:
    """Postgres, Temporal with its UI, the sandbox and a worker, until Ctrl-C; "ready" when the rest may begin."""
    from commands.up import up as up_

    _forget_other_temporal()
    run_alone(
        lambda settings, terminal: up_(
            settings, terminal, with_worker=worker, sites=sites or [], sandbox_wanted=sandbox
        )
    )


def _forget_other_temporal() -> None:
    """A stack of our own is spoken to, not a server that Temporal's own variables name."""
    for name in [name for name in os.environ if name.startswith("TEMPORAL_")]:
        del os.environ[name]


@app.command(rich_help_panel=TRY)
def doctor(json: Json = False) -> None:
    """Checks everything a run needs, and says what to do about what is missing."""
    from commands.doctor import doctor as doctor_

    run(doctor_, json=json)


@app.command(rich_help_panel=TRY)
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Markdown or HTML")],
    keyword: Annotated[str, typer.Option(metavar="TEXT", help="for its density; front matter or JSON-LD else")] = "",
    term: Annotated[
        list[str] | None, typer.Option("--term", metavar="TEXT", help="what it has to be about; repeatable")
    ] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option("--source", metavar="FILE", help="where its numbers and quotations must stand; repeatable"),
    ] = None,
    banned: Annotated[
        list[str] | None, typer.Option("--banned", metavar="TEXT", help="a phrase it may not use; repeatable")
    ] = None,
    brief: Annotated[
        Path | None, typer.Option("--brief", metavar="FILE", help="its banned phrases and its own site")
    ] = None,
    site: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="the folder that links beginning with / start at")
    ] = None,
    json: Json = False,
) -> None:
    """The quality gates over any article file: what blocks it, what is worth mending, where, and how. Exit code 4 when
    something blocks, 2 for a file that is no text, 3 for one that is not there."""
    from commands import checking

    flags = checking.CheckFlags(keyword, term or (), banned or (), source or (), brief, site)
    run_alone(lambda settings, terminal: checking.check(terminal, files, flags, settings.steps.article), json=json)


# Runs ------------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=RUN)
def start(
    brief: Annotated[Path | None, typer.Argument(metavar="BRIEF", help="YAML or JSON; see briefs/")] = None,
    name: Annotated[str | None, typer.Option(help="made from the brief otherwise; a name is one run")] = None,
    cap: Annotated[str | None, typer.Option(metavar="USD", help="most it may spend, instead of the brief's")] = None,
    auto_approve: Annotated[bool, typer.Option("--auto-approve", help="approve all seed keywords")] = False,
    company: Annotated[str | None, typer.Option(help="without a file: the company's name")] = None,
    url: Annotated[str | None, typer.Option(help="without a file: its site")] = None,
    description: Annotated[str | None, typer.Option(help="without a file: 20 words or more on what it sells")] = None,
    competitor: Annotated[list[str] | None, typer.Option(metavar="URL", help="without a file: up to ten")] = None,
    articles: Annotated[int | None, typer.Option(help="without a file: at most so many")] = None,
    forecast: Annotated[bool, typer.Option("--forecast", help="say what it would cost and start nothing")] = False,
    wait: Wait = False,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Starts a brief. The same brief again is the same run: nothing is done or paid twice."""
    from commands.starting import BriefFlags, checked_name, read_brief

    parsed = read_brief(brief, BriefFlags(company, url, description, competitor or (), articles), cap)
    checked_name(name, parsed)

    if forecast:
        from commands.starting import forecast_and_tell

        run(lambda session: forecast_and_tell(session, parsed, auto_approve=auto_approve), json=json)
    from commands.starting import start_and_tell

    run(
        lambda session: start_and_tell(session, parsed, name=name, auto_approve=auto_approve, waits=wait),
        json=json,
        actor=actor,
    )


@app.command(rich_help_panel=RUN)
def status(workflow: Workflow, json: Json = False) -> None:
    """Where a run stands: steps, spend, what it waits for."""
    from commands import reading

    run(lambda session: reading.status(session, workflow), json=json)


@app.command(rich_help_panel=RUN)
def watch(workflow: Workflow, json: Json = False) -> None:
    """Follows a run until it ends, fails (6) or waits for a person. Ctrl-C leaves it running."""
    from commands import reading

    run(lambda session: reading.watch(session, workflow), json=json)


@app.command(name="list", rich_help_panel=RUN)
def list_(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="the youngest so many")] = 50,
    waiting: Annotated[bool, typer.Option("--waiting", help="what waits for a person, oldest first")] = False,
    json: Json = False,
) -> None:
    """All runs of all organizations, the youngest first."""
    from commands import reading
    from commands import waiting as waiting_

    if waiting:
        run(lambda session: waiting_.list_waiting(session, limit), json=json)
    run(lambda session: reading.list_(session, limit), json=json)


@app.command(rich_help_panel=RUN)
def cancel(
    workflow: Workflow,
    reason: Annotated[str, typer.Option(help="kept in the history")] = "cancelled",
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Ends a run for good. What is in flight is finished and booked first."""

    from commands import controlling

    run(lambda session: controlling.cancel(session, workflow, reason), json=json, actor=actor)


@app.command(rich_help_panel=RUN)
def retry(
    workflow: Workflow,
    accept_partial: Annotated[
        bool, typer.Option("--accept-partial", help="after a failed article step: go on with the articles that passed")
    ] = False,
    wait: Wait = False,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Runs a failed step again; what was paid for and accepted is kept."""

    from commands import deciding

    run(
        lambda session: deciding.retry(session, workflow, accept_partial=accept_partial, waits=wait),
        json=json,
        actor=actor,
    )


@app.command(name="raise-cap", rich_help_panel=RUN)
def raise_cap(
    workflow: Workflow,
    usd: Annotated[str, typer.Argument(metavar="USD", help="the new cap; lower than now is refused")],
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Allows a run to spend more."""
    from commands.starting import cap_of

    cap_of(usd, "USD")

    from commands import controlling

    run(lambda session: controlling.raise_cap(session, workflow, usd), json=json, actor=actor)


# People's decisions ----------------------------------------------------------------------------------------------


@app.command(rich_help_panel=DECIDE)
def review(
    workflow: Workflow,
    approve_all: Annotated[bool, typer.Option("--approve-all", help="approve every keyword shown")] = False,
    approve: Annotated[
        list[str] | None, typer.Option(metavar="WHICH", help="approve these, drop all others: 1,4-9, texts, pattern*")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="WHICH", help="drop these, approve all others")] = None,
    add: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="a keyword of your own")] = None,
    note: Annotated[list[str] | None, typer.Option(metavar="WHICH=TEXT", help="why these are decided so")] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="an edited export, CSV or JSON")] = None,
    undecided: Annotated[
        str | None, typer.Option(metavar="approve|drop", help="what a file's rows without a decision become")
    ] = None,
    export: Annotated[Path | None, typer.Option(metavar="FILE", help="write the list to edit, decide nothing")] = None,
    force: Annotated[bool, typer.Option("--force", help="with --export: replace a file that is there")] = False,
    reject: Annotated[
        str | None, typer.Option(metavar="TEXT", help="search again, with these words; --drop names what is wrong")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="in a terminal: line by line instead of the screen")] = False,
    reopen: Annotated[bool, typer.Option("--reopen", help="after failed clusters: decide anew")] = False,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Step 3: decide about the seed keywords. In a terminal without options: a screen, `?` shows its keys."""

    from commands import reviewing

    flags = reviewing.ReviewFlags(
        approve_all, approve or (), drop or (), add or (), file, reject, note or (), undecided, plain
    )
    if sum([flags.are_given, export is not None, reopen]) > 1:
        raise typer.BadParameter("--export, --reopen and a decision exclude each other")
    if force and export is None:
        raise typer.BadParameter("--force replaces the file of --export: give --export FILE")
    if reopen:
        run(lambda session: reviewing.reopen(session, workflow), json=json, actor=actor)
    if export is not None:
        run(lambda session: reviewing.export(session, workflow, export, is_forced=force), json=json)
    run(lambda session: reviewing.review(session, workflow, flags), json=json, actor=actor)


@app.command(rich_help_panel=DECIDE)
def approve(
    workflow: Workflow,
    articles: Articles = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Step 7: approve articles as they are now, to the letter; these are published."""

    from commands import deciding

    run(lambda session: deciding.approve(session, workflow, articles or []), json=json, actor=actor)


@app.command(rich_help_panel=DECIDE)
def redo(
    workflow: Workflow,
    article: Annotated[str, typer.Argument(metavar="ARTICLE", help="number, slug or id; see `articles`")],
    note: Annotated[str, typer.Option(help="what should be otherwise")],
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Has one article written anew before it is published."""

    from commands import deciding

    run(lambda session: deciding.redo(session, workflow, article, note), json=json, actor=actor)


@app.command(rich_help_panel=DECIDE)
def unpublish(
    workflow: Workflow,
    reason: Reason,
    articles: Articles = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Takes back what a run that has ended published: pages are removed, posts become drafts."""

    from commands import publishing

    run(lambda session: publishing.unpublish(session, workflow, articles or [], reason), json=json, actor=actor)


@app.command(rich_help_panel=DECIDE)
def republish(
    workflow: Workflow,
    reason: Reason,
    articles: Articles = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Puts out again what was unpublished, with exactly the content that was approved."""

    from commands import publishing

    run(lambda session: publishing.republish(session, workflow, articles or [], reason), json=json, actor=actor)


@app.command(rich_help_panel=DECIDE)
def override(
    workflow: Workflow,
    clusters: Annotated[
        list[str], typer.Argument(metavar="CLUSTER", help="fallen ones by number, hub or id; see `show ID clusters`")
    ],
    reason: Reason,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Lets clusters go on that fell in step 5: after a failed validation, failed articles, or before publishing."""

    from commands import overriding

    run(lambda session: overriding.override(session, workflow, clusters, reason), json=json, actor=actor)


# Looking ---------------------------------------------------------------------------------------------------------


@app.command(rich_help_panel=LOOK)
def show(
    workflow: Workflow,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="icp, competitors, keywords, clusters or articles")],
    history: Annotated[bool, typer.Option("--history", help="of keywords: every decision, by whom and when")] = False,
    json: Json = False,
) -> None:
    """What was paid for."""
    from commands import showing

    if topic not in list(showing.Topic):
        raise typer.BadParameter(f"TOPIC is {topic!r}; it must be one of {', '.join(showing.Topic)}")
    if history and topic != showing.Topic.KEYWORDS:
        raise typer.BadParameter("--history goes with the topic keywords; see also `starter.py history`")
    if history:
        from commands.keyword_history import show_keyword_history

        run(lambda session: show_keyword_history(session, workflow), json=json)
    run(lambda session: showing.show(session, workflow, showing.Topic(topic)), json=json)


@app.command(rich_help_panel=LOOK)
def preview(workflow: Workflow, json: Json = False) -> None:
    """Writes the articles as pages to look at before they are approved."""
    from commands import showing

    run(lambda session: showing.preview(session, workflow), json=json)


@app.command(rich_help_panel=LOOK)
def export(
    workflow: Workflow,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR|FILE.zip", help="where to; exports/NAME-ID otherwise")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an export that is there already")] = False,
    json: Json = False,
) -> None:
    """Everything a run has as files: articles as Markdown, HTML and JSON, keywords, clusters, ledger, history."""
    from commands import exporting

    run(lambda session: exporting.export(session, workflow, out, force=force), json=json)


@app.command(rich_help_panel=LOOK)
def history(
    workflow: Workflow,
    money: Annotated[
        bool, typer.Option("--money", help="caps, freezes, corrections and plan changes instead: who, why, when")
    ] = False,
    json: Json = False,
) -> None:
    """Every transition: from, to, who, why, when; --money: every decision about money."""
    if money:
        from commands.money_history import run_history

        run(lambda session: run_history(session, workflow), json=json)
    from commands import reading

    run(lambda session: reading.history(session, workflow), json=json)


@app.command(rich_help_panel=LOOK)
def articles(workflow: Workflow, json: Json = False) -> None:
    """The articles: state, title, where published, or why not."""
    from commands import reading

    run(lambda session: reading.articles(session, workflow), json=json)


@app.command(rich_help_panel=LOOK)
def costs(
    workflow: Annotated[str | None, typer.Argument(metavar="[ID]", help="of one run; of all otherwise")] = None,
    by: Annotated[
        str | None, typer.Option(metavar="KEYS", help="sums by month, model, step, slot, workflow, organization")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="the dearest runs")] = None,
    waste: Annotated[bool, typer.Option("--waste", help="rejected, unknown, written off, cancelled")] = False,
    margin: Annotated[bool, typer.Option("--margin", help="plan price less cost, by organization")] = False,
    drift: Annotated[bool, typer.Option("--drift", help="where the provider's figure or model was another")] = False,
    month: Annotated[str | None, typer.Option(metavar="YYYY-MM", help="of this month only; alone: its sums")] = None,
    json: Json = False,
) -> None:
    """The ledger, line by line, summed, or as a report."""
    from commands import costing, reading

    flags = costing.CostFlags(by, top, waste, margin, drift, month)
    if flags.reports or flags.month:
        run(lambda session: costing.report(session, workflow, flags), json=json)
    run(lambda session: reading.costs(session, workflow), json=json)


prices_app = typer.Typer(help="Prices of models.", invoke_without_command=True)
plans_app = typer.Typer(help="Plans and their caps.", invoke_without_command=True)
app.add_typer(prices_app, name="prices", rich_help_panel=OPERATE)
app.add_typer(plans_app, name="plans", rich_help_panel=OPERATE)


@prices_app.callback()
def prices(context: typer.Context, json: Json = False) -> None:
    """Every price with its period, and whether it was used."""
    if context.invoked_subcommand is None:
        from commands import pricing

        run(pricing.list_, json=json)


@prices_app.command(name="add")
def prices_add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON")],
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Adds prices from a file, all or none; the price that runs ends where a new one begins."""
    from commands import pricing

    run(lambda session: pricing.add(session, file), json=json, actor=actor)


@prices_app.command(name="recompute")
def prices_recompute(
    ledger: Annotated[
        str | None, typer.Argument(metavar="[ROW]", help="a ledger row's number, see `costs`, or its key")
    ] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", metavar="ID", help="all rows of a run")] = None,
    json: Json = False,
) -> None:
    """Booked costs computed again from usage and price row; 4 when one differs."""
    from commands import pricing

    run(lambda session: pricing.recompute_(session, ledger, workflow), json=json)


@prices_app.command(name="history")
def prices_history(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="of one model; of all otherwise")] = None,
    json: Json = False,
) -> None:
    """Who added, ended or replaced which price, and when."""
    from commands import money_history

    run(lambda session: money_history.prices_history(session, model), json=json)


@plans_app.callback()
def plans(context: typer.Context, json: Json = False) -> None:
    """Plans with their caps and prices."""
    if context.invoked_subcommand is None:
        from commands import planning

        run(planning.list_, json=json)


@plans_app.command(name="set")
def plans_set(
    plan: str,
    workflow_cap: Annotated[str | None, typer.Option(metavar="USD")] = None,
    month_cap: Annotated[str | None, typer.Option(metavar="USD")] = None,
    price: Annotated[str | None, typer.Option(metavar="USD", help="what the plan costs a month")] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Makes a plan, or changes what is given of one."""
    from commands import planning

    run(
        lambda session: planning.set_(session, plan, workflow_cap=workflow_cap, month_cap=month_cap, price=price),
        json=json,
        actor=actor,
    )


@plans_app.command(name="history")
def plans_history(
    plan: Annotated[str | None, typer.Argument(metavar="[PLAN]", help="of one plan; of all otherwise")] = None,
    json: Json = False,
) -> None:
    """Who made or changed a plan, from what to what."""
    from commands import money_history

    run(lambda session: money_history.plans_history(session, plan), json=json)


@app.command(rich_help_panel=OPERATE)
def plan(
    organization: Annotated[str, typer.Argument(metavar="ORG", help="domain, name or id")],
    new_plan: Annotated[str | None, typer.Option("--set", metavar="PLAN")] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """Which plan an organization has, and who gave it; --set gives it another."""
    from commands import planning

    run(lambda session: planning.plan(session, organization, new_plan), json=json, actor=actor)


@app.command(rich_help_panel=OPERATE)
def alerts(
    workflow: Annotated[str | None, typer.Argument(metavar="[ID]", help="of one run")] = None,
    org: Annotated[str | None, typer.Option("--org", metavar="ORG", help="of one organization")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    json: Json = False,
) -> None:
    """What came to 50, 80 or 100 % of its cap, the youngest first."""
    from commands import planning

    run(lambda session: planning.alerts(session, workflow, org, limit), json=json)


@app.command(rich_help_panel=OPERATE)
def reconcile(json: Json = False) -> None:
    """Resolves open holds, compares rows with runs, and tells what is left; 4 when counters are not the sums of their
    rows, or an open hold can't be resolved. Workers do the same on a schedule."""
    from commands import reconciling

    run(reconciling.reconcile, json=json)


@app.command(rich_help_panel=OPERATE)
def thaw(workflow: Workflow, reason: Reason, actor: Actor = None, json: Json = False) -> None:
    """Lets a frozen run, and its organization's frozen months, spend again."""
    from commands import reconciling

    run(lambda session: reconciling.thaw(session, workflow, reason), json=json, actor=actor)


@app.command(rich_help_panel=OPERATE)
def freeze(
    workflow: Workflow,
    reason: Reason,
    month: Annotated[bool, typer.Option("--month", help="the whole organization, this month")] = False,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """No new paid calls for a run; what is in flight is still booked. What is frozen already keeps its reason."""
    from commands import reconciling

    run(lambda session: reconciling.freeze(session, workflow, reason, month=month), json=json, actor=actor)


@app.command(rich_help_panel=OPERATE)
def correct(
    row: Annotated[str, typer.Argument(metavar="ROW", help="a ledger row's key; see `costs ID --json`")],
    usd: Annotated[str, typer.Argument(metavar="USD", help="a refund is below 0: write it after --")],
    reason: Reason,
    key: Annotated[str | None, typer.Option("--key", metavar="UUID", help="the same again adds nothing")] = None,
    actor: Actor = None,
    json: Json = False,
) -> None:
    """A correction or refund as a linked ledger row: `correct ROW --reason TEXT -- -0.0042`. One that passes the call's
    hold or a cap freezes the run and its organization's month."""
    from commands import reconciling

    run(lambda session: reconciling.correct(session, row, usd, reason, key), json=json, actor=actor)


def _write_what_the_terminal_can_show() -> None:
    """A sign that its encoding lacks becomes a question mark, never an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    _write_what_the_terminal_can_show()
    try:
        app()
    except SystemExit as ended:
        from commands.exits import end_process

        end_process(ended.code if isinstance(ended.code, int) else 0)
