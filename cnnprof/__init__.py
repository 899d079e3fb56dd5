"""What a convolutional network costs, layer by layer, before anything is allocated.

>>> import cnnprof
>>> prof = cnnprof.profile(cnnprof.load("lenet"), (1, 28, 28))
>>> prof.params, prof.products
(105506, 1333200)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnprof.errors import CnnprofError as CnnprofError
    from cnnprof.errors import SpecError as SpecError
    from cnnprof.errors import UsageError as UsageError
    from cnnprof.nets.targets import load as load
    from cnnprof.profiling.autocast import UntraceableError as UntraceableError
    from cnnprof.profiling.loop import TrainingError as TrainingError
    from cnnprof.profiling.profile import Cost as Cost
    from cnnprof.profiling.profile import Layer as Layer
    from cnnprof.profiling.profile import Profile as Profile
    from cnnprof.profiling.profiler import ProfileError as ProfileError
    from cnnprof.profiling.profiler import profile as profile

__version__ = "0.1.0"

__all__ = [
    "CnnprofError",
    "Cost",
    "Layer",
    "Profile",
    "ProfileError",
    "SpecError",
    "TrainingError",
    "UntraceableError",
    "UsageError",
    "__version__",
    "load",
    "profile",
]

_HOMES = {
    "CnnprofError": "cnnprof.errors",
    "Cost": "cnnprof.profiling.profile",
    "Layer": "cnnprof.profiling.profile",
    "Profile": "cnnprof.profiling.profile",
    "ProfileError": "cnnprof.profiling.profiler",
    "SpecError": "cnnprof.errors",
    "TrainingError": "cnnprof.profiling.loop",
    "UntraceableError": "cnnprof.profiling.autocast",
    "UsageError": "cnnprof.errors",
    "load": "cnnprof.nets.targets",
    "profile": "cnnprof.profiling.profiler",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `import cnnprof` alone imports no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
