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
    """Whether the schedule serves our queue: made now, there already, or brought to our interval.

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
    if there.spec.intervals != wanted.spec.intervals:

        def change(known: ScheduleUpdateInput) -> ScheduleUpdate:
            known.description.schedule.spec = wanted.spec
            return ScheduleUpdate(known.description.schedule)

        await handle.update(change)
    return True


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
