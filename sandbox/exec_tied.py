"""Become a server that ends with the process that started it.

Run as a script, by the interpreter in isolated mode, as
`exec_tied.py PARENT_PID SIGNAL UID GID COMMAND…` (UID and GID -1: stay who we are). Dropping to the other
user happens here, and not in the starting process, for two reasons: the kernel forgets the parent-death
signal whenever the user changes, so it has to be asked for afterwards; and the interpreter itself may lie
where the other user can't read it (a root user's own Python), while the server lies where it can.

The kernel sends the signal when the *thread* that started us ends, so start servers from a thread that lives
as long as the process. Elsewhere than on Linux nothing is tied; the next start ends what was left over.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def drop_to(user_id: int, group_id: int) -> None:
    """Become the given user, for good; does nothing for -1."""
    if user_id == -1:
        return
    os.setgroups([])
    os.setgid(group_id)
    os.setuid(user_id)


def tie_to(parent_pid: int, signal_number: int) -> None:
    """Ask the kernel for `signal_number` at the parent's end; exits when the parent has ended already."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        sys.exit(f"the kernel refused a parent-death signal: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        sys.exit("the starting process ended before its server began")


def main(arguments: list[str]) -> None:
    parent_pid, signal_number, user_id, group_id = (int(value) for value in arguments[:4])
    command = arguments[4:]
    os.umask(0o077)
    try:
        drop_to(user_id, group_id)
        tie_to(parent_pid, signal_number)
        os.execv(command[0], command)  # noqa: S606 - replacing this process is the point
    except OSError as problem:
        sys.exit(f"cannot run {command[0]}: {problem.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
