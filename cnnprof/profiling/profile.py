"""The result of profiling a network: a tree of layers and what each of them costs.

Nothing here measures or prints: the profiler builds these objects, the renderers, `compare` and `check` read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from io import StringIO
from typing import Literal, TypeAlias

from cnnprof.profiling.memory import Peak, Training

PRODUCTS = "products"
"""The convention that is our own definition."""

Shape: TypeAlias = tuple[int, ...]
"""Sizes without the batch dimension, as `64x55x55` is printed: `(64, 55, 55)`."""

Term: TypeAlias = tuple[int, ...]
"""The factors of one product, in the order in which a textbook writes them: `(32, 24, 24, 1, 5, 5)` for 32·24²·1·5²."""

FieldSize: TypeAlias = 'tuple[int | Literal["all"] | None, ...] | None'
"""Pixels per axis of the input: `all` after an operator that reads a whole axis, None where it is not known."""

FieldStride: TypeAlias = "tuple[int | Fraction | None, ...] | None"
"""The same for strides: fractions after a transposed convolution, None where there are no neighbours or it is not known."""


@dataclass(frozen=True)
class Cost:
    """What a layer, or a sum of layers, costs. Costs add: a container's is the sum of its children's.

    Layers that are alike share one, of other profiles too.
    """

    params: int = 0
    """Elements of the distinct parameters, each at its first owner."""
    trainable_params: int = 0
    """Those of `params` that require a gradient."""
    products: int = 0
    """Scalar multiplications, at the profile's batch size. A lower bound where `unknown` is not empty."""
    output_bytes: int = 0
    """Bytes of the tensors that the layer writes; a view or an in-place operator writes none."""
    param_bytes: int = 0
    """Bytes of `params`."""
    buffer_bytes: int = 0
    """Bytes of the distinct buffers (BatchNorm's statistics), which are no parameters."""
    unknown: tuple[str, ...] = ()
    """Operators that ran and stand in no table, each once: the count of products cannot know them."""
    retained_bytes: int = 0
    """Bytes that it allocates in a training pass and that live until the backward pass begins; 0 where that was not asked for."""
    peak_bytes: int = field(default=0, compare=False)
    """The largest sum of live bytes when it allocates in an inference pass, 0 where it does not: of a sum of layers the largest.
    It depends on what else lives then, so layers that are equal may differ in it."""

    @property
    def complete(self) -> bool:
        """Whether every operator that ran was known, so that `products` is exact."""
        return not self.unknown

    @property
    def model_bytes(self) -> int:
        """Bytes of parameters and buffers: what a checkpoint holds."""
        return self.param_bytes + self.buffer_bytes

    def __add__(self, other: Cost) -> Cost:
        return total((self, other))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum; an unknown operator is named once."""
    params = trainable = products = output = param = buffer = retained = peak = 0
    unknown: tuple[str, ...] = ()
    for cost in costs:
        params += cost.params
        trainable += cost.trainable_params
        products += cost.products
        output += cost.output_bytes
        param += cost.param_bytes
        buffer += cost.buffer_bytes
        retained += cost.retained_bytes
        peak = max(peak, cost.peak_bytes)
        if cost.unknown and cost.unknown != unknown:
            unknown = tuple(dict.fromkeys(unknown + cost.unknown))
    return Cost(params, trainable, products, output, param, buffer, unknown, retained, peak)


NOTHING = Cost()


@dataclass(unsafe_hash=True)
class Layer:
    """One layer of the network, or a container of layers, as it was called.

    Never changed once it is made, but not frozen: it takes twice as long to make what is.
    """

    path: str
    """Where the module stands, as `named_modules` says: `stage1.0.main.3`; empty for the network itself."""
    kind: str
    """The class, `Conv2d`, or the block of the spec that it came from, `bottleneck`."""
    arguments: str
    """As one would write them to make the layer, defaults left out: `1, 32, kernel_size=5`."""
    depth: int
    """0 for the network itself, 1 for its layers."""
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    cost: Cost = NOTHING
    """What the layer costs. Only leaves cost anything by themselves: a container's cost is the sum of its children's."""
    param_shapes: tuple[Shape, ...] = ()
    """Shapes of the parameters that a leaf's `cost.params` counts, in order: the arithmetic behind it."""
    product_terms: tuple[Term, ...] = ()
    """The arithmetic behind a leaf's `cost.products`: the sum of their products."""
    note: str = ""
    """What the reader has to know of this row, if anything: `not called`."""
    children: tuple[Layer, ...] = ()
    receptive_field: FieldSize = None
    """How many pixels of the network's first input an element of the first output can depend on, along each axis, as if there were
    no borders."""
    stride: FieldStride = None
    """How many pixels neighbouring elements of the output are apart, along each axis."""

    def __post_init__(self) -> None:
        if self.children:
            self.cost = total([child.cost for child in self.children])

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def input_shape(self) -> Shape:
        """The shape of the first input tensor."""
        return self.input_shapes[0] if self.input_shapes else ()

    @property
    def output_shape(self) -> Shape:
        """The shape of the first output tensor."""
        return self.output_shapes[0] if self.output_shapes else ()

    @property
    def is_view(self) -> bool:
        """Whether it only gives its input another shape, as Flatten does: it holds, computes and writes nothing."""
        return not self.children and self.cost == NOTHING and self.input_shapes != self.output_shapes

    @property
    def params(self) -> int:
        return self.cost.params

    @property
    def products(self) -> int:
        return self.cost.products

    @property
    def output_bytes(self) -> int:
        return self.cost.output_bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """What a network costs for one input: the tree of its layers, and the totals.

    >>> import cnnprof
    >>> prof = cnnprof.profile(cnnprof.load("lenet"), (1, 28, 28))
    >>> prof.params, prof.products
    (105506, 1333200)
    >>> prof.layers[0].output_shape
    (32, 24, 24)
    """

    network: str
    input_shapes: tuple[Shape, ...]
    batch: int
    dtype: str
    """As torch names it, without the prefix: `float32`."""
    root: Layer
    convention: str = PRODUCTS
    """How `products` are counted: by our own definition, or as another tool counts."""
    inference_peak: Peak | None = None
    """The largest sum of live bytes during the pass, input included, parameters not; None where a saved profile has none."""
    retained: bool = False
    """Whether the layers' `retained_bytes` were asked for, and are not merely 0."""
    training: Training | None = None
    """The memory of training; None where no optimizer was given."""
    untrained: str = ""
    """Why `retained` is False although it was asked for."""
    caveats: tuple[str, ...] = ()
    """What is known to be other in a real pass."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The leaves of the tree in the order in which they ran: only they cost anything, together they are the total."""
        return tuple(leaves(self.root))

    @property
    def cost(self) -> Cost:
        """The totals: the sum over `layers`."""
        return self.root.cost

    @property
    def params(self) -> int:
        """Elements of the distinct parameters."""
        return self.cost.params

    @property
    def trainable_params(self) -> int:
        return self.cost.trainable_params

    @property
    def products(self) -> int:
        """Scalar multiplications of one pass over the batch."""
        return self.cost.products

    @property
    def output_bytes(self) -> int:
        """Bytes of the tensors that the layers write."""
        return self.cost.output_bytes

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the distinct buffers."""
        return self.cost.buffer_bytes

    @property
    def model_bytes(self) -> int:
        """Bytes of parameters and buffers."""
        return self.cost.model_bytes

    @property
    def retained_bytes(self) -> int | None:
        """Bytes that the layers allocate in a training pass and that live until its backward pass; None where nobody asked."""
        return self.cost.retained_bytes if self.retained else None

    @property
    def complete(self) -> bool:
        """Whether `products` is exact rather than a lower bound."""
        return self.cost.complete

    def __str__(self) -> str:
        """The table that `cnnprof summarize` prints."""
        return self._written("table").rstrip("\n")

    def to_json(self) -> str:
        """The profile as JSON, as `cnnprof summarize --format json` writes it: raw integers, their definitions beside them."""
        return self._written("json")

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """The profile that `to_json`, or `summarize --format json`, has written. Raises `SpecError` where the text is none."""
        from cnnprof.errors import Source
        from cnnprof.profiling.saved_profile import read_profile

        return read_profile(Source("profile", text))

    def _written(self, format: str) -> str:
        # The renderers are built on this module; they are needed only here, when somebody prints.
        from cnnprof.render import View, write

        text = StringIO()
        write(self, View(), text, format)
        return text.getvalue()


def leaves(root: Layer) -> Iterator[Layer]:
    """The layers below `root` that hold no others, in order; `root` itself where it is one."""
    waiting = [root]
    while waiting:
        layer = waiting.pop()
        if layer.children:
            waiting += reversed(layer.children)
        else:
            yield layer


def elements(shape: Shape) -> int:
    """The number of elements of a tensor of that shape."""
    return math.prod(shape)
