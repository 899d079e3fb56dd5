"""Why a side has no result, in a few words."""

from __future__ import annotations

from subprocess import CalledProcessError


class GaveUpError(Exception):
    """A tool that gives no numbers without raising, or that has no way to be given such inputs."""


def described(error: Exception) -> str:
    """`raises ValueError: the first line`, the last line that a process wrote, or the message alone of a tool that gave up."""
    if isinstance(error, CalledProcessError):
        return f"ends with {error.returncode}: {(str(error.stderr).strip().splitlines() or ['no message'])[-1]}"
    first = (str(error).strip() or "no message").partition("\n")[0]
    return first if isinstance(error, GaveUpError) else f"raises {type(error).__name__}: {first}"
