"""The vocabulary against torch: nothing missing, nothing invented, and every layer of it really runs."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cnnprof.nets import layers, signatures
from cnnprof.nets.trials import MAX_RANK, example, run, sample, values_of
from cnnprof.spec import vocabulary as module
from cnnprof.spec.vocabulary import EXCLUDED, LayerType, Parameter, accepts, vocabulary

RECORDED = json.loads(module.FILE.read_text(encoding="utf-8"))["torch"]
same_torch = pytest.mark.skipif(
    torch.__version__.partition("+")[0] != RECORDED, reason=f"the file was written from torch {RECORDED}"
)

NAMES = sorted(vocabulary())


def class_of(name: str) -> type[nn.Module]:
    found: type[nn.Module] = getattr({"torch.nn": nn, "cnnprof.nets.layers": layers}[vocabulary()[name].module], name)
    return found


def parameter(layer: str, name: str) -> Parameter:
    found = vocabulary()[layer].parameter(name)
    assert found is not None, f"{layer} has no {name}"
    return found


def ranks_of(layer: LayerType) -> tuple[int, ...]:
    return layer.ranks or tuple(range(1, MAX_RANK + 1))


def arguments(name: str, rank: int, **fixed: Any) -> dict[str, Any] | None:
    layer = vocabulary()[name]
    return example(class_of(name), layer.parameters, layer.told, rank, **fixed)


def test_reading_it_needs_no_torch() -> None:
    code = "import sys; from cnnprof.spec.vocabulary import vocabulary; vocabulary(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@same_torch
def test_the_file_is_what_torch_says() -> None:
    assert signatures.main(["--check"]) == 0, "run python -m cnnprof.nets.signatures"


@same_torch
def test_an_old_file_is_noticed_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = module.FILE.read_text(encoding="utf-8")
    old = tmp_path / "vocabulary.json"
    old.write_text(text.replace('"out_features"', '"outputs"'), encoding="utf-8")
    monkeypatch.setattr(signatures, "FILE", old)
    assert signatures.main(["--check"]) == 1
    assert "vocabulary.json is not what torch says" in capsys.readouterr().err
    assert signatures.main([]) == 0
    assert old.read_text(encoding="utf-8") == text


def test_every_module_of_torch_is_in_it_or_excluded_for_a_reason() -> None:
    public = {
        name
        for name in dir(nn)
        if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module) and name[0] != "_"
    }
    known = {layer.name for layer in vocabulary().values() if layer.module == "torch.nn"}
    assert known | set(EXCLUDED) == public
    assert not known & set(EXCLUDED)
    assert all(EXCLUDED.values())


def test_our_own_layers_are_in_it() -> None:
    own = {name for name, layer in vocabulary().items() if layer.module == "cnnprof.nets.layers"}
    assert own == {"LocallyConnected2d", "Permute", "Reshape", "Slice"}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_the_signature(name: str) -> None:
    layer = vocabulary()[name]
    signature = {
        key: value
        for key, value in inspect.signature(class_of(name)).parameters.items()
        if value.kind.name not in ("VAR_POSITIONAL", "VAR_KEYWORD") and key[0] != "_"
    }
    assert [p.name for p in layer.parameters] == [
        key for key in signature if key not in layer.told and key not in signatures.LEFT_OUT
    ]
    assert set(layer.told) <= set(signature)
    for p in layer.parameters:
        default = signature[p.name].default
        assert p.required == (default is inspect.Parameter.empty)
        assert p.required or (p.default == default and type(p.default) is type(default))
    required = [p.required for p in layer.parameters]
    assert required == sorted(required, reverse=True), "a list by position needs the required ones first"


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_runs_on_every_rank_it_takes_and_tells_the_same_shape_on_meta(name: str) -> None:
    for rank in ranks_of(vocabulary()[name]):
        found = arguments(name, rank)
        assert found is not None, f"{name} does not run on rank {rank}"
        output = run(class_of(name), found, sample(rank))
        with torch.device("meta"):
            meta = run(class_of(name), found, torch.empty_like(sample(rank), device="meta"))
        assert output is not None
        assert meta is not None
        assert meta.shape == output.shape


RANKS: dict[str, tuple[int, ...] | None] = {
    # These differ from what the 1d, 2d or 3d in a name says …
    "BatchNorm1d": (1, 2),
    "Dropout2d": (2, 3),
    # … and these have nothing of the kind in theirs, or could be taken for more.
    "Linear": (1,),
    "PixelShuffle": (3,),
    "PixelUnshuffle": (3,),
    "Fold": (2,),
    "Unfold": (3,),
    "FeatureAlphaDropout": (4,),
    "Upsample": (2, 3, 4),
    "LocalResponseNorm": (2, 3, 4),
    "ChannelShuffle": (2, 3, 4),
}


@pytest.mark.parametrize("name", NAMES)
def test_ranks(name: str) -> None:
    dimensions = int(name[-2]) if name.endswith(("1d", "2d", "3d")) else None
    expected = RANKS.get(name, (dimensions + 1,) if dimensions else None)
    assert vocabulary()[name].ranks == expected


# What an argument needs beside it to be of any use.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("Upsample", "mode"): {"size": 2},
    ("Upsample", "align_corners"): {"scale_factor": 2.0, "mode": "linear"},
    ("Upsample", "recompute_scale_factor"): {"scale_factor": 2.0},
    ("Upsample", "size"): {"scale_factor": 2.0},
    ("Upsample", "scale_factor"): {"size": 2},
    ("RReLU", "lower"): {"upper": 3.0},
    **{(f"ConvTranspose{n}d", "output_padding"): {"stride": 4} for n in (1, 2, 3)},
    **{(f"FractionalMaxPool{n}d", "kernel_size"): {"output_size": 1} for n in (2, 3)},
    **{(f"FractionalMaxPool{n}d", "output_size"): {"output_ratio": 0.5} for n in (2, 3)},
    **{(f"FractionalMaxPool{n}d", "output_ratio"): {"output_size": 1} for n in (2, 3)},
    **{(f"Upsampling{kind}2d", "size"): {"scale_factor": 2.0} for kind in ("Nearest", "Bilinear")},
    **{(f"Upsampling{kind}2d", "scale_factor"): {"size": 2} for kind in ("Nearest", "Bilinear")},
}

# Lists that are the shape of the input, which no value of a type alone can be.
SHAPES = {("LayerNorm", "int[]"): (4, 4), ("RMSNorm", "int[]"): (4, 4)}


@pytest.mark.parametrize("name", NAMES)
def test_every_type_and_every_word_that_a_parameter_takes_runs(name: str) -> None:
    """A type that no value of runs would be an invitation to write what torch refuses."""
    layer = vocabulary()[name]
    for p in layer.parameters:
        others = BESIDE.get((name, p.name), {})
        settings = [others, {}] if others else [{}]
        kinds = [dataclasses.replace(p, types=(kind,)) for kind in p.types if kind != "choice"]
        words = [dataclasses.replace(p, types=("choice",), choices=(word,)) for word in p.choices]
        for one in kinds + words:
            values = [SHAPES[name, one.types[0]]] if (name, one.types[0]) in SHAPES else list(values_of(one))
            assert any(
                arguments(name, rank, **{**beside, p.name: value}) is not None
                for beside in settings
                for rank in ranks_of(layer)
                for value in values
            ), f"{name}: {p.name} of type {one.types} {one.choices}"


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_are_plain_sentences(name: str) -> None:
    layer = vocabulary()[name]
    for text in [layer.about, *(p.about for p in layer.parameters)]:
        assert text
        assert text.endswith((".", "!", "?"))
        assert not [mark for mark in ("`", "\\", "::", ":attr:", ":math:", "  ", "Default:", "\n") if mark in text], text
    assert layer.about[0].isupper()


def test_what_is_read_from_docstrings() -> None:
    """Some of each kind, read by a person."""
    layers_ = vocabulary()
    assert layers_["Linear"].about == "Applies an affine linear transformation to the incoming data: y = xA^T + b."
    assert layers_["Unflatten"].about == "Unflattens a tensor dim expanding it to a desired shape."
    assert layers_["CrossMapLRN2d"].about == "Applies local response normalization over an input signal."
    assert parameter("Conv2d", "padding").about == "Padding added to all four sides of the input."
    assert parameter("Flatten", "start_dim").about == "First dim to flatten."
    assert parameter("RReLU", "upper").about == "Upper bound of the uniform distribution."
    assert parameter("MaxPool2d", "stride").about == "The stride of the window. Default value is kernel_size."
    assert parameter("ZeroPad2d", "padding").about == (
        "The size of the padding. If is int, uses the same padding in all boundaries. If a 4-tuple, uses (padding_left,"
        " padding_right, padding_top, padding_bottom)."
    )
    assert parameter("LayerNorm", "normalized_shape").about.startswith(
        "Input shape from an expected input of size [* x normalized_shape[0] x normalized_shape[1] x ... x"
        " normalized_shape[-1]]. If a single integer is used, it is treated as a singleton list,"
    )


@pytest.mark.parametrize(
    ("layer", "name", "types", "choices"),
    [
        ("Conv2d", "kernel_size", ("int", "int[2]"), ()),
        ("Conv3d", "dilation", ("int", "int[3]"), ()),
        ("Conv2d", "padding", ("choice", "int", "int[2]"), ("valid", "same")),
        ("Conv1d", "padding_mode", ("choice",), ("zeros", "reflect", "replicate", "circular")),
        ("ConvTranspose2d", "padding_mode", ("choice",), ("zeros",)),
        ("MaxPool2d", "kernel_size", ("int", "int[2]"), ()),
        ("AvgPool1d", "stride", ("int", "int[1]", "null"), ()),
        ("LPPool1d", "kernel_size", ("int",), ()),
        ("AdaptiveAvgPool2d", "output_size", ("int", "int?[2]"), ()),
        ("ZeroPad3d", "padding", ("int", "int[6]"), ()),
        ("BatchNorm2d", "momentum", ("float", "null"), ()),
        ("BatchNorm2d", "bias", ("bool",), ()),
        ("LayerNorm", "normalized_shape", ("int", "int[]"), ()),
        ("Upsample", "scale_factor", ("float", "float[]", "null"), ()),
        ("GELU", "approximate", ("choice",), ("none", "tanh")),
        ("Permute", "dims", ("int[]",), ()),
    ],
)
def test_types(layer: str, name: str, types: tuple[str, ...], choices: tuple[str, ...]) -> None:
    assert (parameter(layer, name).types, parameter(layer, name).choices) == (types, choices)


def test_what_the_input_tells_is_no_parameter() -> None:
    told = {name: dict(layer.told) for name, layer in vocabulary().items() if layer.told}
    assert told["Conv2d"] == {"in_channels": "channels"}
    assert told["Linear"] == {"in_features": "channels"}
    assert told["BatchNorm1d"] == {"num_features": "channels"}
    assert told["GroupNorm"] == {"num_channels": "channels"}
    assert told["LocallyConnected2d"] == {"in_channels": "channels", "input_size": "size"}
    assert vocabulary()["GroupNorm"].parameter("num_channels") is None
    assert "MaxPool2d" not in told


@pytest.mark.parametrize(
    ("layer", "name", "value", "taken"),
    [
        ("Conv2d", "out_channels", 64.0, 64),
        ("Conv2d", "kernel_size", [3, 5.0], (3, 5)),
        ("Conv2d", "kernel_size", (3, 5), (3, 5)),
        ("Conv2d", "padding", "same", "same"),
        ("Conv2d", "padding", 0, 0),
        ("Conv2d", "bias", False, False),
        ("ZeroPad2d", "padding", -1, -1),
        ("ReflectionPad2d", "padding", [1, -1, 0, 2], (1, -1, 0, 2)),
        ("BatchNorm2d", "momentum", None, None),
        ("BatchNorm2d", "momentum", 1, 1),
        ("AdaptiveAvgPool2d", "output_size", [None, 7], (None, 7)),
        ("Upsample", "scale_factor", 2, 2),
        ("Flatten", "end_dim", -2, -2),
        ("Reshape", "shape", [-1, 7], (-1, 7)),
        ("LPPool2d", "norm_type", float("inf"), float("inf")),
    ],
)
def test_accepts(layer: str, name: str, value: Any, taken: Any) -> None:
    result = accepts(parameter(layer, name), value)
    assert result == taken
    assert type(result) is type(taken)
    if isinstance(taken, tuple):
        assert [type(item) for item in result] == [type(item) for item in taken]


@pytest.mark.parametrize(
    ("layer", "name", "value", "message"),
    [
        ("Conv2d", "kernel_size", 70.4, "kernel_size takes an integer or a list of 2 integers, not 70.4"),
        ("Conv2d", "kernel_size", [3, 3, 3], "kernel_size takes an integer or a list of 2 integers, not [3, 3, 3]"),
        ("Conv2d", "kernel_size", [], "kernel_size takes an integer or a list of 2 integers, not []"),
        ("Conv2d", "kernel_size", [[3], 3], "kernel_size takes an integer or a list of 2 integers, not [[3], 3]"),
        ("MaxPool2d", "kernel_size", [2], "kernel_size takes an integer or a list of 2 integers, not [2]"),
        ("Conv1d", "kernel_size", "x", "kernel_size takes an integer or a list of one integer, not x"),
        ("Conv2d", "out_channels", True, "out_channels takes an integer, not true"),
        ("Conv2d", "out_channels", None, "out_channels takes an integer, not null"),
        ("Conv2d", "out_channels", [64], "out_channels takes an integer, not [64]"),
        ("Conv2d", "out_channels", float("inf"), "out_channels takes an integer, not inf"),
        ("Conv2d", "bias", 1, "bias takes true or false, not 1"),
        ("Conv2d", "padding", "sme", "padding takes valid, same, an integer or a list of 2 integers, not sme"),
        ("Conv2d", "padding_mode", "miror", "padding_mode is one of zeros, reflect, replicate, circular, not miror"),
        ("Conv2d", "padding_mode", 3, "padding_mode is one of zeros, reflect, replicate, circular, not 3"),
        ("AvgPool2d", "stride", "x", "stride takes an integer, a list of 2 integers or null, not x"),
        ("Upsample", "scale_factor", "x", "scale_factor takes a number, a list of numbers or null, not x"),
        (
            "AdaptiveAvgPool2d",
            "output_size",
            [7, "x"],
            "output_size takes an integer or a list of 2 integers or nulls, not [7, x]",
        ),
        ("Permute", "dims", 3, "dims takes a list of integers, not 3"),
        ("Dropout", "p", True, "p takes a number, not true"),
        ("Conv2d", "out_channels", -3, "out_channels must be at least 1, not -3"),
        ("Conv2d", "out_channels", 0.0, "out_channels must be at least 1, not 0"),
        ("Conv2d", "stride", [2, 0], "stride must be at least 1, not 0"),
        ("AvgPool2d", "stride", 0, "stride must be at least 1, not 0"),
        ("MaxPool2d", "padding", -1, "padding must be at least 0, not -1"),
        ("Conv2d", "padding", [1, -1], "padding must be at least 0, not -1"),
        ("AdaptiveAvgPool2d", "output_size", [None, 0], "output_size must be at least 1, not 0"),
        ("Upsample", "scale_factor", 0, "scale_factor must be above 0, not 0"),
        ("LPPool2d", "norm_type", -0.5, "norm_type must be above 0, not -0.5"),
        ("Linear", "out_features", 2**63, "out_features must be below 2^63, not 9223372036854775808"),
        ("Linear", "out_features", 10**50, "out_features must be below 2^63, not a number of more than 40 digits"),
        ("Linear", "out_features", "x" * 100, f"out_features takes an integer, not {'x' * 39}…"),
    ],
)
def test_accepts_says_what_is_wrong(layer: str, name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        accepts(parameter(layer, name), value)
    assert str(caught.value) == message


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["same", "zeros"])
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=6), max_leaves=12)


@given(st.sampled_from([p for layer in vocabulary().values() for p in layer.parameters]), ANYTHING)
def test_accepts_takes_or_refuses_and_what_it_takes_it_takes_again(p: Parameter, value: Any) -> None:
    try:
        taken = accepts(p, value)
    except ValueError as error:
        assert str(error).startswith(p.name)  # noqa: PT017 - most values are refused, some are not
        return
    assert repr(accepts(p, taken)) == repr(taken)


@pytest.mark.parametrize("name", NAMES)
def test_a_default_is_accepted(name: str) -> None:
    for p in vocabulary()[name].parameters:
        assert p.required or accepts(p, p.default) == p.default


@same_torch
def test_the_tables_have_no_idle_entries() -> None:
    classes = signatures.layer_classes()
    everywhere = {name for cls in classes.values() for name in inspect.signature(cls).parameters}
    assert set(signatures.LEFT_OUT) <= everywhere
    assert set(signatures.TOLD) <= everywhere
    assert set(signatures.SIGNS) <= everywhere
    for layer, name in [*signatures.CHOICES, *signatures.ABOUT]:
        assert name in inspect.signature(classes[layer]).parameters
    assert set(signatures.DOCUMENTED_BY) <= set(classes)
