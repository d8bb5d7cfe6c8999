"""Runs a program of ``python -m MODULE`` again and again, without reading its modules again each time.

    python -m glassgate.conformance.lab.forkserver MODULE

A line of standard input is a JSON list: the log's path, then the program's arguments. The answer is a line with its
process id. A program that has ended leaves nothing; when standard input ends, so does this, and the programs with it.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2): no program outlives this one


def main(module: str) -> None:
    """Serve until the input ends."""
    importlib.import_module(f"{module}.__main__")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so nobody has to be waited for
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(module, log, arguments)
        print(child, flush=True)  # noqa: T201 - the answer


def _become(module: str, log: str, arguments: list[str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, standard)
    sys.argv = [module, *arguments]
    sys.modules.pop(f"{module}.__main__", None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
