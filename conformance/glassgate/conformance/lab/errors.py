"""What can go wrong in the lab, and which exit status that is."""

from __future__ import annotations

import signal

EXIT_FAILED = 1
"""A check failed: the gateway did not do what it must."""
EXIT_UNUSABLE = 2
"""The lab could not be built or used: no root, a program missing, a wrong argument."""


class LabError(Exception):
    """The lab itself cannot go on. The message is one clear line for the user."""


class CheckFailed(Exception):
    """A check found something other than it demands. The message says what was seen."""


class Interrupted(BaseException):
    """A signal asked the run to end. Not an Exception: nothing but the clean-up stands in its way."""

    def __init__(self, signal_number: int, reason: str) -> None:
        super().__init__(reason)
        self.signal_number = signal_number
        self.reason = reason

    @property
    def exit_status(self) -> int:
        """The shell's convention for death by a signal; a run that took too long has failed."""
        return EXIT_FAILED if self.signal_number == signal.SIGALRM else 128 + self.signal_number
