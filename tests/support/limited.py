"""Run a command with less than its parent has: `python -m tests.support.limited [--file-bytes N] [--obey-modes] -- COMMAND`.

`--file-bytes`: no file of it grows beyond (the soft limit, which the parent may raise again). `--obey-modes`: also when
run by root, the permissions of files hold for it.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import sys

PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--file-bytes", type=int)
    parser.add_argument("--obey-modes", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.file_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_bytes, hard))
    if options.obey_modes and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
            sys.exit(f"cannot drop CAP_DAC_OVERRIDE: {os.strerror(ctypes.get_errno())}")
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
