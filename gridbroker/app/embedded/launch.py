"""Becomes another program that ends when its parent ends. Run as a script by `process.spawn`, never imported.

A script rather than `preexec_fn`, because Python code between fork and exec can deadlock in a process with threads.
Arguments: parent pid, death signal, niceness, whom to run as (`self`, `namespace` or `nobody`), then the program and its arguments.
"""

import ctypes
import os
import pwd
import sys

CLONE_NEWUSER = 0x1000_0000
PR_SET_PDEATHSIG = 1
UID_INSIDE = 1000


def main(parent_pid: str, death_signal: str, niceness: str, run_as: str, *program: str) -> None:
    os.nice(int(niceness))
    if run_as == "namespace":
        enter_user_namespace()
    elif run_as == "nobody":
        become_nobody()
    # Last, because a change of credentials clears it.
    end_with_parent(int(parent_pid), int(death_signal))
    os.execv(program[0], program)  # noqa: S606 - no shell on purpose


def enter_user_namespace() -> None:
    """Look like an ordinary user to this program only: files stay root's outside, and no account or mode is changed."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER) was refused")
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{UID_INSIDE} {outer_uid} 1")
    write("/proc/self/gid_map", f"{UID_INSIDE} {outer_gid} 1")


def become_nobody() -> None:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def end_with_parent(parent_pid: int, death_signal: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone already")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
        file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
