"""The Schedule that starts MaintenanceWorkflow: made by whichever worker comes first, kept by the others."""

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from domain.reconciliation import ReconcileSettings
from workflows.maintenance import Maintain, MaintenanceWorkflow

CATCH_UP_SECONDS = 60.0  # a pass looks at everything there is: missed ones need not be made up for


async def ensure_schedule(client: Client, maintain: Maintain, settings: ReconcileSettings) -> bool:
    """Whether the schedule serves our queue: made now, there already, or brought to our interval, argument and policy.

    Workers of the same settings leave each other's schedule as it is. A person's pause and note stay.

    False when a schedule of this id serves another queue of the namespace: then it is left alone, and
    ``settings.schedule_id`` has to be another one.
    """
    wanted = _schedule(maintain, settings)
    try:
        await client.create_schedule(settings.schedule_id, wanted)
    except ScheduleAlreadyRunningError:
        return await _bring_up_to_date(client, wanted, settings)
    return True


async def _bring_up_to_date(client: Client, wanted: Schedule, settings: ReconcileSettings) -> bool:
    handle = client.get_schedule_handle(settings.schedule_id)
    there = (await handle.describe()).schedule
    if _queue(there) != _queue(wanted):
        return False
    if await _starts(client, there) != await _starts(client, wanted) or _times(there) != _times(wanted):
        await handle.update(lambda known: _changed(known, wanted))
    return True


def _changed(known: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    schedule = known.description.schedule
    schedule.action, schedule.spec, schedule.policy = wanted.action, wanted.spec, wanted.policy
    return ScheduleUpdate(schedule)


def _times(schedule: Schedule) -> tuple[list[ScheduleIntervalSpec], SchedulePolicy]:
    return list(schedule.spec.intervals), schedule.policy


async def _starts(client: Client, schedule: Schedule) -> tuple[str, str, Maintain] | None:
    """Which workflow is started under which id and with which argument; None for what another version stored and we
    can't read."""
    action = schedule.action
    if not isinstance(action, ScheduleActionStartWorkflow):
        return None
    arguments = list(action.args)
    if arguments and not isinstance(arguments[0], Maintain):
        try:
            arguments = await client.data_converter.decode(arguments, [Maintain])
        except (ValueError, LookupError, RuntimeError):
            return None
    return (action.workflow, action.id, arguments[0]) if len(arguments) == 1 else None


def _schedule(maintain: Maintain, settings: ReconcileSettings) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            MaintenanceWorkflow.run,
            maintain,
            id=settings.schedule_id,
            task_queue=maintain.queue,
            static_summary="reconcile money, compare rows with runs",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=settings.every_seconds))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=CATCH_UP_SECONDS)),
    )


def _queue(schedule: Schedule) -> str:
    action = schedule.action
    return action.task_queue if isinstance(action, ScheduleActionStartWorkflow) else ""
