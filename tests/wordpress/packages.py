"""Installs what a real WordPress needs: ``python -m tests.wordpress.packages``, for ``make wordpress``."""

import os
import shutil
import subprocess
import sys

from tests.wordpress.real_site import PACKAGES, missing


def main() -> int:
    absent = missing()
    if not absent:
        return 0
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES.split()]
    said = f"a real WordPress needs {absent}"
    if shutil.which("apt-get") is None:
        print(f"{said}, and there is no apt-get here: install those of your system: {PACKAGES}", file=sys.stderr)  # noqa: T201
        return 1
    if os.geteuid() != 0:
        print(f"{said}; that needs root: sudo {' '.join(command)}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{said}: {' '.join(command)}", flush=True)  # noqa: T201
    return subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
