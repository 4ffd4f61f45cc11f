from __future__ import annotations


class LauncherError(Exception):
    """A reason not to go on, told as one sentence to the person at the terminal."""


class AlreadyRunning(LauncherError):
    pass


class ServerFailed(LauncherError):
    """An embedded server did not start. The sentence names its log."""
