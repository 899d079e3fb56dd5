"""What is known of the memory of a network: figures only, in bytes."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest sum of live bytes over a pass, and where it was reached first."""

    bytes: int = 0
    path: str = ""
    """The module that ran, or whose backward ran; empty for the network itself, and outside of all."""
    operator: str = ""
    """The operator that allocated last; empty if none did."""
    phase: str = ""
    """`forward`, `loss`, `backward`, `step` or `zero_grad`."""
    event: int = -1
    """The number of the event that reached it; -1 where nothing was ever allocated."""


@dataclass(frozen=True, slots=True)
class Split:
    """Live bytes by what they hold."""

    parameters: int = 0
    buffers: int = 0
    input: int = 0
    """The batch and its targets."""
    gradients: int = 0
    """Of the parameters."""
    optimizer_state: int = 0
    activations: int = 0
    """What the forward pass and the loss made and the backward pass needs, output and loss included."""
    temporary: int = 0
    """The rest: what operators hand on to the next, gradients of activations, intermediate results of the optimizer."""

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Training:
    """The memory that training a network takes, in bytes."""

    optimizer: str
    """`sgd`, `momentum`, `adam` or `adamw`."""
    loss: str
    """`cross entropy` or `mean square`."""
    saved_bytes: int
    """Of the distinct storages that autograd keeps for the backward pass, without parameters, buffers and input."""
    live_after_forward: Split
    """When output and loss of the first iteration are there, and the backward pass has not begun."""
    loss_bytes: int
    """What the loss adds to that: the layers' retained bytes and these are all of its activations."""
    first_backward_peak_bytes: int
    """The peak over the forward and the backward pass of the first iteration."""
    first_peak_bytes: int
    """The peak over the first iteration, in whose last step the optimizer makes its state."""
    peak: Peak
    """The peak over every later iteration."""
    at_peak: Split
    """What lives then."""
    deviations: tuple[str, ...] = ()
    """Why the figures of a real pass are others, where that is known."""

    @property
    def peak_bytes(self) -> int:
        """The highest sum of live bytes over an iteration that is not the first."""
        return self.peak.bytes
