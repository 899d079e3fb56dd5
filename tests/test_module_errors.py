"""What cannot be profiled says why: the operator, the module, the line of the user's file, and what to do."""

from __future__ import annotations

import inspect
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch
from module_pieces import Of, param
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

import cnnprof
from cnnprof.profiling import untouched
from cnnprof.profiling.profiler import ProfileError

HERE = os.path.relpath(__file__) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__).name
ADVICE = "put what depends on values outside `forward`, or profile the branches as modules of their own"


def positive(m: Any, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def until(m: Any, x: Tensor) -> Tensor:
    while (x > 3).any():
        x = x / 2
    return x


def assigned(m: Any, x: Tensor) -> Tensor:
    x[x > 0] = m.best.weight.max().item()
    return x


DEPENDENT: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "a comparison": (positive, "bool()"),
    "a loop": (until, "bool()"),
    "and": (lambda m, x: x.any() and x, "bool()"),
    "max of Python": (lambda m, x: max(x[0, 0], x[0, 1]), "bool()"),
    "item": (lambda m, x: x * x.mean().item(), "x.item()"),
    "item of a parameter": (assigned, "x.item()"),
    "int": (lambda m, x: range(int(x.argmax())), "int()"),
    "float": (lambda m, x: x / float(x.max()), "float()"),
    "index of a list": (lambda m, x: [1, 2, 3][x.argmax()], "int()"),
    "slice": (lambda m, x: x[: x.argmax()], "[]"),
    "mask": (lambda m, x: x[x > 0], "[]"),
    "nonzero": (lambda m, x: x.nonzero(), "x.nonzero()"),
    "torch.nonzero": (lambda m, x: torch.nonzero(x), "torch.nonzero()"),
    "where": (lambda m, x: torch.where(x > 0), "torch.where()"),
    "masked_select": (lambda m, x: x.masked_select(x > 0), "x.masked_select()"),
    "unique": (lambda m, x: torch.unique(x), "torch.unique()"),
    "bincount": (lambda m, x: torch.bincount(x.argmax(-1)), "torch.bincount()"),
    "one_hot": (lambda m, x: F.one_hot(x.argmax(-1)), "F.one_hot()"),
    "equal": (lambda m, x: torch.equal(x, x), "torch.equal()"),
    "allclose": (lambda m, x: torch.allclose(x, x), "torch.allclose()"),
    "tolist": (lambda m, x: x.tolist(), "x.tolist()"),
    "numpy": (lambda m, x: x.numpy(), "x.numpy()"),
    "numpy on the CPU": (lambda m, x: x.detach().cpu().numpy(), "x.numpy()"),
    "array": (lambda m, x: np.asarray(x), "numpy.asarray()"),
    "in": (lambda m, x: 3 in x, "in"),
    "format": (lambda m, x: f"{x.sum():.3f}", "format()"),
    "sorted": (lambda m, x: sorted(x[0]), "bool()"),
    "sizes": (lambda m, x: torch.arange(x.argmax()), "torch.arange()"),  # type: ignore[call-overload] # it takes a tensor
    "repetitions": (lambda m, x: torch.repeat_interleave(x, x.argmax(-1), dim=0), "torch.repeat_interleave()"),
    "constants that have met the input": (lambda m, x: (torch.ones(4, device="cpu") * x).sum().item(), "x.item()"),
}


@pytest.mark.parametrize("name", DEPENDENT)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_control_flow_that_depends_on_data(name: str, device: str) -> None:
    """The module is the innermost one, the line is that of the operator, not of `forward`."""
    run, operator = DEPENDENT[name]
    with torch.device(device):
        net = nn.Sequential(nn.Linear(4, 4), Of(run, best=nn.Linear(4, 4)))
    with pytest.raises(ProfileError) as caught:
        cnnprof.profile(net, (4,), batch=4)
    found = re.fullmatch(r"cannot run 1 \(Of\) at (.*):(\d+): (.*) cannot run without data; (.*)", str(caught.value))
    assert found, str(caught.value)
    lines, first = inspect.getsourcelines(run)
    assert found[1] == HERE
    assert first <= int(found[2]) < first + len(lines)
    assert found[3] == operator
    assert found[4] == ADVICE


def test_the_line_of_the_operator() -> None:
    line = positive.__code__.co_firstlineno + 1
    with pytest.raises(ProfileError, match=f"at {re.escape(HERE)}:{line}: bool"):
        cnnprof.profile(Of(positive), (4,))
    line = until.__code__.co_firstlineno + 1
    with pytest.raises(ProfileError, match=f"at {re.escape(HERE)}:{line}: bool"):
        cnnprof.profile(Of(until), (4,))


def test_values_of_constants_are_there() -> None:
    """What does not depend on the input may decide."""

    def steps(m: Any, x: Tensor) -> Tensor:
        for width in m.widths.tolist():
            if torch.tensor(width, device="cpu") > 1:
                x = m.linear(x)
        return x

    net = Of(steps, linear=nn.Linear(4, 4), widths=torch.tensor([1, 2, 3], device="cpu"))
    assert cnnprof.profile(net, (4,)).products == 2 * 16


def test_within_a_layer_of_torch() -> None:
    net = nn.Sequential(Of(lambda m, x: m.loss(x, x[0], x[0, :, 0].long(), x[1, :, 0].long()), loss=nn.CTCLoss()))
    with pytest.raises(ProfileError, match=r"cannot run 0\.loss \(CTCLoss\) at .*: _ctc_loss cannot run without data"):
        cnnprof.profile(net, torch.zeros(5, 2, 4))


def test_an_error_of_the_network_itself() -> None:
    def fail(m: Any, x: Tensor) -> Tensor:
        raise KeyError("no such head")

    with pytest.raises(ProfileError, match=rf"^cannot run 0 \(Of\) at {HERE}:\d+: 'no such head'$") as caught:
        cnnprof.profile(nn.Sequential(Of(fail)), (4,))
    assert isinstance(caught.value.__cause__, KeyError)


def test_the_module_that_fails_and_not_one_that_was_caught() -> None:
    def careful(m: Any, x: Tensor) -> Any:
        try:
            return m.wrong(x)
        except RuntimeError:
            return m.worse(x)

    net = Of(careful, wrong=nn.Linear(5, 5), worse=nn.Conv1d(3, 3, 3))
    with pytest.raises(ProfileError, match=rf"cannot run worse \(Conv1d\) at {HERE}"):
        cnnprof.profile(net, (4, 9))


def test_writing_into_a_tensor_of_another_device() -> None:
    """Its values would be made up, and decide."""

    def assign(m: Any, x: Tensor) -> Tensor:
        out = torch.zeros(2, 4, device="cpu")
        out[0] = m.linear(x)[0]
        return out

    def fill(m: Any, x: Tensor) -> Tensor:
        out = torch.zeros(1, 4, device="cpu")
        torch.add(m.linear(x), 1, out=out)
        return out

    for write in (assign, fill):
        with pytest.raises(
            ProfileError, match=rf"at {HERE}:\d+: .* the cpu; make it on the device of the input, `device=x.device`"
        ):
            cnnprof.profile(Of(write, linear=nn.Linear(4, 4)), (4,))


def test_modules_nested_too_deep_for_python() -> None:
    net: nn.Module = nn.Linear(4, 4)
    for _ in range(5_000):
        net = nn.Sequential(net)
    with pytest.raises(ProfileError, match="maximum recursion depth exceeded"):
        cnnprof.profile(net, (4,))


def test_a_lazy_module() -> None:
    for device in ("cpu", "meta"):
        lazy = nn.Sequential(nn.LazyLinear(4, device=device))
        with pytest.raises(ProfileError, match="a lazy module gets its sizes from its first call: run it once on an input"):
            cnnprof.profile(lazy, (4,))
        assert isinstance(lazy[0], nn.LazyLinear)
        assert lazy[0].has_uninitialized_params()


def test_modules_in_other_threads() -> None:
    """The pass could not see what runs there."""

    def parallel(m: Any, x: Tensor) -> Any:
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(lambda part: part(x), m.parts))

    net = Of(parallel, parts=nn.ModuleList(nn.Linear(4, 4) for _ in range(2)))
    with pytest.raises(ProfileError, match="from several threads"):
        cnnprof.profile(net, (4,))


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor(1)], ids=["a new thread", "a pool"])
def test_functions_in_other_threads(pool: ThreadPoolExecutor | None) -> None:
    """No mode of this thread sees them, so the profile says that they are missing."""

    def forward(m: Any, x: Tensor) -> Any:
        made: list[Tensor] = []
        if pool is not None:
            made.append(pool.submit(F.linear, x, m.weight).result())
        else:
            thread = Thread(target=lambda: made.append(F.linear(x, m.weight)))
            thread.start()
            thread.join()
        return made[0]

    start, submit = Thread.start, ThreadPoolExecutor.submit
    found = cnnprof.profile(Of(forward, weight=param(4, 4)), (4,))
    assert "it gives work to other threads, and what runs there is not counted" in found.caveats
    assert "other threads" in str(found)
    assert (Thread.start, ThreadPoolExecutor.submit) == (start, submit)
    assert not cnnprof.profile(nn.Linear(4, 4), (4,)).caveats


def test_a_forward_that_waits_for_a_profile_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untouched, "PATIENCE", 0.1)

    def waiting(m: Any, x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(cnnprof.profile, nn.Linear(4, 4), (4,)).result()
        return x

    with pytest.raises(ProfileError, match=r"another thread has been profiling for 0.1 s: only one can at a time"):
        cnnprof.profile(Of(waiting), (4,))


def test_a_forward_that_profiles() -> None:
    def inner(m: Any, x: Tensor) -> Tensor:
        assert cnnprof.profile(m.linear, (4,)).params == 20
        return x

    assert cnnprof.profile(Of(inner, linear=nn.Linear(4, 4)), (4,)).params == 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_process_that_is_forked_meanwhile() -> None:
    """Its only thread is not the one that profiles, and that one never gives the lock back there."""
    forked, going_on = Event(), Event()

    def slow(m: Any, x: Tensor) -> Tensor:
        forked.set()
        assert going_on.wait(60)
        return x

    with ThreadPoolExecutor(1) as pool:
        profiling = pool.submit(cnnprof.profile, Of(slow), (4,))
        assert forked.wait(60)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            code = 1
            try:
                code = 0 if cnnprof.profile(nn.Linear(4, 4), (4,)).params == 20 else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        going_on.set()
        assert os.waitstatus_to_exitcode(status) == 0
        assert profiling.result().params == 0


def test_other_threads_go_on() -> None:
    """One computes, with autocast, while others profile: that one's network, another and the same."""

    def chain() -> nn.Module:
        return nn.Sequential(*(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()) for _ in range(20)))

    done = Event()

    def compute() -> int:
        net, passes = chain(), 0
        while not done.is_set():
            with torch.autocast("cpu", torch.bfloat16):
                net(torch.zeros(1, 2, 4, 4)).sum().backward()
            passes += 1
        return passes

    shared = chain()
    with ThreadPoolExecutor(5) as pool:
        computing = pool.submit(compute)
        profiles = [
            pool.submit(cnnprof.profile, net, (2, 4, 4), optimizer=optimizer)
            for net in (shared, chain(), shared)
            for optimizer in ("adam", None, None)
        ]
        try:
            figures = {(profile.result().params, profile.result().products) for profile in profiles}
        finally:
            done.set()
        assert computing.result() > 0
    assert figures == {(20 * (2 * 2 * 9 + 2), 20 * 16 * 2 * 2 * 9)}
    assert all(module.training for module in shared.modules())


def test_autocast_on_the_inputs_device() -> None:
    def autocast(m: Any, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return x @ x.T

    with pytest.raises(ProfileError, match="unsupported autocast device_type 'meta'; name the device type as text"):
        cnnprof.profile(Of(autocast), (4,))


@torch.library.custom_op("cnnprof_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


def test_an_operator_without_a_kernel_for_meta() -> None:
    with pytest.raises(ProfileError, match=r"cnnprof_tests::twice.*torch\.library\.register_fake"):
        cnnprof.profile(Of(lambda m, x: twice(x)), (4,))


def test_a_custom_operator_is_a_lower_bound() -> None:
    @torch.library.custom_op("cnnprof_tests::thrice", mutates_args=())
    def thrice(x: Tensor) -> Tensor:
        return 3 * x

    thrice.register_fake(torch.empty_like)
    found = cnnprof.profile(Of(lambda m, x: thrice(m.linear(x)), linear=nn.Linear(4, 4)), (4,))
    assert (found.products, found.complete) == (16, False)
    assert found.cost.unknown == ("thrice",)


@pytest.mark.parametrize(
    "inputs",
    [(3, 4), (5,), [(4,), (4,)], {"y": (4,)}, torch.zeros(2, 4, dtype=torch.int64)],
    ids=["3x4", "5", "two", "named", "int64"],
)
def test_inputs_that_do_not_fit(inputs: Any) -> None:
    net = Of(lambda m, x: m.linear(x.view(-1, 4)) if x.shape[-1] != 4 else m.linear(x).view(-1, 5), linear=nn.Linear(4, 5))
    if inputs == (3, 4):
        assert cnnprof.profile(net, inputs).products == 3 * 20
        return
    with pytest.raises(ProfileError, match="cannot run"):
        cnnprof.profile(net, inputs)


def test_a_shape_with_a_batch() -> None:
    with pytest.raises(ProfileError, match="a shape has no batch dimension: 3x8x8, not 1x3x8x8"):
        cnnprof.profile(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2)), (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ((3, 8, 8), {"dtype": "float16"}, "dtype is a torch.dtype such as torch.float16, not 'float16'"),
        ((3, 8, 8), {"batch": "2"}, "the batch is a number of at least 1, not '2'"),
        ((3, 8.0, 8), {}, "the sizes of an input are whole numbers"),
        (torch.zeros(4, 3, 8, 8), {"batch": 2}, "the batch is that of the example, 4, not 2"),
    ],
    ids=["dtype", "batch", "sizes", "another batch"],
)
def test_arguments_that_are_none(inputs: Any, options: Any, message: str) -> None:
    with pytest.raises(cnnprof.UsageError, match=re.escape(message)):
        cnnprof.profile(nn.Conv2d(3, 4, 3), inputs, **options)
