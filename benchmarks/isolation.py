"""Work done in a process of its own, forked from this one: what it breaks there is broken for nobody else."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from benchmarks.trouble import described

T = TypeVar("T")

LONGEST = 180.0


class NoAnswerError(Exception):
    """The work ended without a result; the message says how, in a few words, `raises ValueError: …`."""


def isolated(work: Callable[[], T], longest: float = LONGEST) -> T:
    """What the work returns, which has to be picklable.

    Raises NoAnswerError where the work raises, dies or takes longer than so many seconds.
    """
    torch.set_num_threads(1)  # a process with OpenMP's threads in it must not be forked
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    try:
        told = _read(reading, time.monotonic() + longest)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        raise NoAnswerError(f"takes more than {longest:g} s") from None
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0 or not told:
        raise NoAnswerError(f"dies ({os.waitstatus_to_exitcode(status)})")
    well, result = pickle.loads(told)
    if not well:
        raise NoAnswerError(result)
    answer: T = result
    return answer


def _answer(work: Callable[[], object], writing: int) -> None:
    """Sends the result or the error, and ends the process; nothing of the parent's runs at its exit."""
    code = 1
    try:
        torch.set_num_threads(max(1, os.cpu_count() or 1))
        try:
            told = pickle.dumps((True, work()))
        except Exception as error:
            told = pickle.dumps((False, described(error)))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(told)
        code = 0
    finally:
        os._exit(code)


def _read(pipe: int, until: float) -> bytes:
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(pipe, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
