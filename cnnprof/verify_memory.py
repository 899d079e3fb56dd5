"""Predicted memory beside what a real pass takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import torch

from cnnprof.errors import UsageError
from cnnprof.profiling import measured
from cnnprof.profiling.profile import Profile
from cnnprof.profiling.profiler import AUTOCAST, measure
from cnnprof.profiling.resolve import Conditions, Subject, subject_of
from cnnprof.profiling.training import UNTRAINABLE, train
from cnnprof.spec.target import Target

MOST = 4 * 2**30
"""Bytes that may be allocated to verify: a training pass that takes more is left out."""


class Verdict(str, Enum):
    """What a measurement comes to."""

    EQUAL = "equal"
    WORKSPACE = "workspace"
    """More, by what kernels allocate for themselves."""
    EXPLAINED = "explained"
    """Another figure, for a known reason."""
    DIFFERS = "DIFFERS"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity, as it was predicted and as it came out."""

    quantity: str
    """A key of the definitions: `inference_peak_bytes`."""
    source: str
    """`operators on the CPU`, `allocator of the CPU`, `allocator of cuda:0`."""
    predicted: int
    measured: int
    verdict: Verdict

    @property
    def share(self) -> float:
        """What was measured beyond the prediction, in per cent of it."""
        return 100 * (self.measured - self.predicted) / self.measured if self.measured else 0.0


@dataclass(frozen=True, slots=True)
class MemoryVerification:
    """All measurements of one network."""

    profile: Profile
    measurements: tuple[Measurement, ...]

    @property
    def passed(self) -> bool:
        """Whether no figure differs for an unknown reason."""
        return all(one.verdict is not Verdict.DIFFERS for one in self.measurements)


def verify_memory(
    target: Target,
    conditions: Conditions,
    optimizer: str,
    device: str = "cpu",
    notify: Callable[[str], None] = lambda step: None,
) -> MemoryVerification:
    """Runs the network for real, an inference pass and a training loop, and puts what they take beside what was predicted.

    What cannot be trained is measured at inference alone; `untrained` of the profile says why. Raises UsageError where a pass would
    take more than `MOST` bytes, or where there is no such device.
    """
    where = _device(device)
    subject = subject_of(target, conditions)
    notify("predicting")
    profile = _predicted(subject, optimizer)
    assert profile.inference_peak is not None
    taken = profile.training.peak_bytes if profile.training else profile.model_bytes + profile.inference_peak.bytes
    if taken > MOST and where.type == "cpu":
        needed = f"{taken / 2**30:.1f} GiB, more than {MOST // 2**30} GiB"
        raise UsageError(f"to run {subject.name} for real takes {needed}: give a smaller --batch or --input")
    if where.type == "cpu":
        found = _on_cpu(subject, profile, optimizer, notify)
    else:
        found = _on_cuda(subject, profile, optimizer, where, notify)
    return MemoryVerification(profile, tuple(found))


def _predicted(subject: Subject, optimizer: str) -> Profile:
    try:
        return measure(subject.module, subject.given, name=subject.name, optimizer=optimizer).profile
    except UNTRAINABLE as error:
        return replace(measure(subject.module, subject.given, name=subject.name).profile, untrained=str(error))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f'there is no device "{name}": --device cpu, cuda, cuda:1') from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f'memory is measured on cpu and cuda, not on "{name}"')
    return device


def _on_cpu(subject: Subject, profile: Profile, optimizer: str, notify: Callable[[str], None]) -> list[Measurement]:
    module, given, training = subject.module, subject.given, profile.training
    assert profile.inference_peak is not None
    operators, allocator = "operators on the CPU", "allocator of the CPU"
    notify("an inference pass, operator by operator")
    peak = profile.inference_peak.bytes
    known = bool((training and training.deviations) or AUTOCAST in profile.caveats)
    found = [_exact("inference_peak_bytes", operators, peak, measured.inference_peak(module, given).bytes, known)]
    if training:
        notify("two iterations of training, operator by operator")
        real = train(module, given, optimizer=optimizer, device="cpu").training
        pairs = (
            ("live_bytes", training.live_after_forward.total, real.live_after_forward.total),
            ("saved_bytes", training.saved_bytes, real.saved_bytes),
            ("training_peak_bytes", training.peak_bytes, real.peak_bytes),
        )
        found += [_exact(key, operators, predicted, came, known) for key, predicted, came in pairs]
    notify("an inference pass, with the allocator's events")
    found.append(_roughly("inference_peak_bytes", allocator, peak, measured.allocated_inference_peak(module, given), known))
    if not training:
        return found
    notify("an iteration of training, with the allocator's events")
    allocated = measured.allocated_training_peak(module, given, optimizer=optimizer)
    return [*found, _roughly("training_peak_bytes", allocator, training.peak_bytes, allocated, known)]


def _on_cuda(
    subject: Subject, profile: Profile, optimizer: str, device: torch.device, notify: Callable[[str], None]
) -> list[Measurement]:
    assert profile.inference_peak is not None
    if profile.training is None:
        raise UsageError(f"on {device} both passes are run, and {subject.name} cannot be trained: {profile.untrained}")
    notify(f"both passes on {device}")
    inference, training = measured.cuda_peaks(subject.module, subject.given, optimizer=optimizer, device=device)
    source = f"allocator of {device}"
    # What is allocated there has the parameters in it, and each tensor is rounded up to 512 bytes.
    predicted = profile.inference_peak.bytes + profile.model_bytes
    return [
        _roughly("inference_peak_bytes", f"{source}, parameters included", predicted, inference, True),
        _roughly("training_peak_bytes", source, profile.training.peak_bytes, training, True),
    ]


def _exact(quantity: str, source: str, predicted: int, came: int, known: bool) -> Measurement:
    """Of figures that have to be the same, unless a reason is known why they are not."""
    verdict = Verdict.EQUAL if predicted == came else Verdict.EXPLAINED if known else Verdict.DIFFERS
    return Measurement(quantity, source, predicted, came, verdict)


def _roughly(quantity: str, source: str, predicted: int, came: int, known: bool) -> Measurement:
    """Of what an allocator says: kernels may take more for themselves, but never less than their operators hold."""
    if came > predicted:
        return Measurement(quantity, source, predicted, came, Verdict.WORKSPACE)
    return _exact(quantity, source, predicted, came, known)
