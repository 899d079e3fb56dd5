"""What the column of products means where `--convention` asks for the count of another tool, each in the version that is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnnprof.profiling.profile import PRODUCTS
from cnnprof.render.definitions import DEFINITIONS, Definition


@dataclass(frozen=True, slots=True)
class Convention:
    """How a count is called and what it means."""

    heading: str
    """Of its column."""
    definition: Definition


CONVENTIONS: Mapping[str, Convention] = {
    PRODUCTS: Convention("# products", DEFINITIONS["products"]),
    "flops": Convention(
        "# FLOPs",
        Definition("FLOPs", "2 x products", "two for each product: a multiplication and the addition after it"),
    ),
    "mac+bias": Convention(
        "# MACs + bias",
        Definition(
            "MACs + bias",
            "products, and the additions of biases",
            "products, and one addition for each element of an output to which a bias is added: what ptflops counts with "
            "its aten backend, and torchinfo where there are no norms",
        ),
    ),
    "fvcore": Convention(
        "# flops of fvcore",
        Definition(
            "fvcore flops",
            "products, norms and some pools; no LSTM",
            "what FlopCountAnalysis of fvcore 0.1.5 gives: products, and 1 to 5 for each element of norms, adaptive "
            "average pools, resized images and sampled grids; nothing for scaled dot product attention and recurrent layers",
        ),
    ),
    "thop": Convention(
        "# MACs of thop",
        Definition(
            "thop MACs",
            "by class of layer; functions count nothing",
            "what profile of thop 0.1.1 gives: by the exact class of a layer its products, 2 or 4 for each element of a "
            "norm, and what average pools, softmax and resizing take; functions, attention and other classes count nothing",
        ),
    ),
    "ptflops": Convention(
        "# MACs of ptflops",
        Definition(
            "ptflops MACs",
            "biases, norms, activations and pools too",
            "what get_model_complexity_info of ptflops 0.7.5 gives: by the class of a layer its products, biases, norms, "
            "activations and pools, and again for most activations and pools as the functions that they call; "
            "x + y and x @ y count nothing, torch.add and torch.matmul do",
        ),
    ),
}
"""Every convention of `cnnprof.profiling.conventions` by its name."""


def definitions(convention: str) -> Mapping[str, Definition]:
    """The meanings of all metrics, that of the products as the convention has it."""
    return {**DEFINITIONS, "products": CONVENTIONS[convention].definition}
