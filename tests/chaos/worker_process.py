"""``worker.py`` with two of Temporal's own times short: how long a dead worker's runs wait for it before others may
take them. They are no settings of ours yet; everything else comes from the environment."""

import functools
import os
import sys
from datetime import timedelta
from typing import Any

from temporalio.worker import Worker

import worker

STICKY_VARIABLE = "CHAOS_STICKY_SECONDS"


def main() -> int:
    sticky = timedelta(seconds=float(os.environ[STICKY_VARIABLE]))
    short: Any = functools.partial(Worker, sticky_queue_schedule_to_start_timeout=sticky)
    setattr(worker, Worker.__name__, short)
    return worker.main()


if __name__ == "__main__":
    sys.exit(main())
