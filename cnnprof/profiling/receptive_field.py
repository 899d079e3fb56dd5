"""The receptive field of every tensor of one pass, followed operator by operator.

The *receptive field* of an element is how many pixels of the input it can depend on, along each axis from the first to the last, as
if the input had no borders; `all` after an operator that reads a whole axis. The *stride* is how many pixels neighbouring elements
are apart. Both as in Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks, Distill 2019.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from cnnprof.fields.combining import met
from cnnprof.fields.dependence import NO_FIELD, Dependence, Field, of_input, unknown
from cnnprof.fields.pasting import Piece, pasted, piece_of
from cnnprof.fields.reading import batch_norm, elementwise
from cnnprof.fields.table import Rule, rule
from cnnprof.fields.viewing import Found
from cnnprof.operators import rule as rule_of_products

__all__ = ["NO_FIELD", "Field", "Followed", "ReceptiveFields", "followed"]


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known of an operator."""

    rule: Rule | None
    writes: tuple[int, ...]
    """The places of the arguments that it changes."""
    passes_on: bool
    """Whether its output mostly depends on what its operands depend on, element by element."""


def followed(func: Any) -> Followed | None:
    """What `follow` needs to know of an operator; None for one that takes no tensor, and for one that torch composes of others,
    which then have been followed already."""
    space, _, overload = func.name().rpartition("::")
    arguments = getattr(getattr(func, "_schema", None), "arguments", ())
    known = rule_of_products(func)
    if (known is not None and known.composed) or not any("Tensor" in str(one.type) for one in arguments):
        return None
    writes = tuple(place for place, one in enumerate(arguments) if one.alias_info is not None and one.alias_info.is_write)
    has_rule = space == "aten" and not any(arguments[place].kwarg_only for place in writes)  # as out= is
    found = rule(overload) if has_rule else None
    return Followed(found, writes, found is elementwise or found is batch_norm)


_MARK = "_cnnprof_dependence"
"""An attribute of the tensors themselves: cheaper than a dictionary that does not keep them alive."""
_MARKS = repeat(_MARK)
_OPERANDS = 5
"""How many tensors an operator of a layer takes at most: input, weight, bias, mean and variance, which come first."""
_NO_KWARGS: Mapping[str, Any] = MappingProxyType({})


class ReceptiveFields:
    """What the tensors of a pass depend on. It leaves marks on tensors: call `forget` in the end."""

    def __init__(self) -> None:
        self._input = of_input(0, 0)
        self._latest: Dependence | None = None
        """What the output of the last layer depends on, see `of_layer`."""
        self._marked: list[weakref.ref[Tensor]] = []
        self._pasted: dict[int, tuple[weakref.ref[Tensor], Piece]] = {}
        """The piece that was written into a tensor of constants, by the tensor's number, which may be used again."""
        self._tainted: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        """Memory that was changed through one tensor while others saw it too: what any of them depends on is not known."""

    def start(self, x: Tensor) -> None:
        """Marks the network's input: a batch, channels, and all other dimensions as axes."""
        self._input = of_input(x.dim(), max(0, x.dim() - 2))
        self._mark(x, self._input)

    def forget(self) -> None:
        """Takes the marks off the tensors that are still there."""
        for reference in self._marked:
            tensor = reference()
            if tensor is not None and hasattr(tensor, _MARK):
                delattr(tensor, _MARK)
        self._marked.clear()

    def of(self, tensors: Sequence[Tensor]) -> Field:
        """The receptive field of the first tensor's elements; `NO_FIELD` if they depend on no pixel, or if there is no tensor."""
        if not tensors:
            return NO_FIELD
        found = self._look(tensors[0]) if self._tainted else getattr(tensors[0], _MARK, None)
        return NO_FIELD if found is None else found.field()

    def follow(self, operator: Followed, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Sequence[Tensor]) -> None:
        """Notes what the outputs of an operator depend on that has just run."""
        if not self._marked:
            return  # no input was: a training pass asks for no receptive fields
        try:
            self._follow(operator, args, kwargs, outputs)
        except (ValueError, IndexError):
            given = [(tensor, _mark_of(tensor)) for tensor in _tensors((*args, *kwargs.values()))]
            known = [found for _, found in given if found is not None]
            if all(found is None or len(found.layout) == tensor.dim() for tensor, found in given):
                raise
            # Transforms of functions give a tensor dimensions, and take them away, without an operator.
            self._set(outputs, [unknown(tensor.dim(), known) for tensor in outputs])

    def _follow(self, operator: Followed, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Sequence[Tensor]) -> None:
        rule = operator.rule
        if not self._tainted and rule is not None:
            if operator.passes_on and (rule is elementwise or not args[5]):
                if self._passed_on(operator, args, kwargs, outputs):
                    return
            elif args and not operator.writes and getattr(args[0], _MARK, None) is not None:
                self._set(outputs, rule(_mark_of, outputs, *args, **kwargs))
                return
        given = list(_tensors((*args, *kwargs.values())))
        if any(self._look(tensor) is not None for tensor in given):
            self._apply(operator, args, kwargs, outputs, given)

    def of_layer(self, operator: Followed, args: tuple[Any, ...], output: Tensor, follows: bool) -> Field:
        """The same as `follow` and `of`, for an operator of which the first argument is the input of a layer.

        `follows` is whether that is what the layer before it has returned. The output is marked by `settle`, which is to be called
        before anybody but the next layer gets it.
        """
        x = args[0]
        known: Dependence | None = self._latest if follows else getattr(x, _MARK, None)
        if known is None or self._tainted or (len(args) > 1 and any(map(hasattr, args[1:_OPERANDS], _MARKS))):
            if follows:
                self.settle(x)
            outputs = (output,)
            self.follow(operator, args, _NO_KWARGS, outputs)
            self._latest = _mark_of(output)
            return self.of(outputs)
        if not operator.passes_on:
            if follows:
                setattr(x, _MARK, known)  # for the rule; nothing but this layer has it
            found = operator.rule and operator.rule(_mark_of, (output,), *args)
            if not isinstance(found, Dependence):
                self._set((output,), found)
                self._latest = _mark_of(output)
                return self.of((output,))
            known = found
        self._latest = known
        return known.field()

    def of_idle(self, x: Tensor, follows: bool) -> Field:
        """The same for a layer that returns its input."""
        if follows:
            self.settle(x)
        else:
            self._latest = _mark_of(x)
        return self.of((x,))

    def settle(self, output: Tensor) -> None:
        """Marks what the last layer has returned."""
        if self._latest is not None and _mark_of(output) is not self._latest:
            self._mark(output, self._latest)

    def _passed_on(self, operator: Followed, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: Sequence[Tensor]) -> bool:
        """Whether there is nothing to do but to pass on what one or two operands depend on, which is mostly so."""
        values = (*args, *kwargs.values()) if kwargs else args
        found: Dependence | None = None
        source: Any = None
        for value in values:
            known = getattr(value, _MARK, None)
            if known is not None and known is not found:
                if found is None:
                    found, source = known, value
                elif value.shape != source.shape or (found := met(found, known)) is None:
                    return False
        if found is None:
            return True
        made = outputs[0]
        if made is source:
            return found is getattr(made, _MARK)
        if operator.writes or made is values[0] or made.shape != source.shape:
            return False
        if len(outputs) > 1 and operator.rule is elementwise:
            return False
        self._mark(made, found)
        return True

    def _set(self, outputs: Sequence[Tensor], found: Found) -> None:
        if isinstance(found, list):
            for tensor, one in zip(outputs, found, strict=True):
                if one is not None:
                    self._mark(tensor, one)
        else:
            if found is not None:
                self._mark(outputs[0], found)
            for tensor in outputs[1:]:  # for the backward pass, unless their rule says something of them
                self._mark(tensor, unknown(tensor.dim(), [self._input]))

    def _apply(
        self,
        operator: Followed,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        outputs: Sequence[Tensor],
        given: Sequence[Tensor],
    ) -> None:
        made: Sequence[Tensor] = outputs
        found: Found
        if operator.rule is None:
            known = [one for one in map(self._look, given) if one is not None]
            made = [*outputs, *_tensors(args[place] for place in operator.writes if place < len(args))]
            found = [unknown(tensor.dim(), known) for tensor in made]
        else:
            found = operator.rule(self._look, outputs, *args, **kwargs)
        if not operator.writes:
            self._set(made, found)
            return
        for tensor, one in zip(made, found if isinstance(found, list) else [found], strict=False):
            self._overwrite(tensor, one, given)

    def _overwrite(self, tensor: Tensor, found: Dependence | None, given: Sequence[Tensor]) -> None:
        """Notes what a tensor depends on that an operator has changed, which was given these."""
        before = self._look(tensor)
        if found is before or (found is not None and before is not None and found.same(before)):
            return
        storage = tensor.untyped_storage()
        address, whole = storage._cdata, tensor._base
        several = (tensor, *given) if whole is None else (tensor, whole, *given)
        sharing = {id(one) for one in several if one.untyped_storage()._cdata == address}
        # The Python object of the memory counts too. Other tensors that see the same memory are not to be found.
        if torch._C._storage_Use_Count(address) > len(sharing) + 1 or (whole is None and len(sharing) > 1):
            self._tainted[address] = weakref.ref(storage)
        elif whole is None:
            self._mark(tensor, found)
        elif not self._paste(tensor, found, whole, len(sharing) > 2):
            self._tainted[address] = weakref.ref(storage)

    def _paste(self, view: Tensor, found: Dependence | None, whole: Tensor, from_itself: bool) -> bool:
        """Whether it is known what a tensor depends on of which a piece was written.

        What is put beside the first piece as a border does not count, be it constant or, as with circular padding, a piece of the
        same tensor.
        """
        piece, before = piece_of(whole, view), self._look(whole)
        if found is None or piece is None:
            return False
        if from_itself:
            same, first = self._pasted.get(id(whole), (None, piece))
            return same is not None and same() is whole and first.apart(piece)
        made = pasted(found, piece, whole.shape)
        if made is None or (before is not None and not before.same(made)):
            return False
        self._pasted[id(whole)] = weakref.ref(whole), piece
        self._mark(whole, made)
        self._mark(view, found)
        return True

    def _mark(self, tensor: Tensor, found: Dependence | None) -> None:
        setattr(tensor, _MARK, found)
        self._marked.append(weakref.ref(tensor))

    def _look(self, value: Any) -> Dependence | None:
        found = _mark_of(value)
        if self._tainted and isinstance(value, Tensor):
            tainted = self._tainted.get(value.untyped_storage()._cdata)
            if tainted is not None and tainted() is not None:
                return unknown(value.dim(), [self._input])
        return found


def _mark_of(value: Any) -> Dependence | None:
    found: Dependence | None = getattr(value, _MARK, None)
    return found


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, those in lists too."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
