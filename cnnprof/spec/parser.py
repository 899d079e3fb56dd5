"""From nodes to a spec. What is wrong is found here, or in what is called here, if it can be before anything is computed."""

from __future__ import annotations

from cnnprof.errors import Source, SpecError, did_you_mean
from cnnprof.spec import reader
from cnnprof.spec.bodies import NO_LAYERS, Bodies
from cnnprof.spec.grammar import Spec
from cnnprof.spec.reader import Node, Scalar
from cnnprof.spec.signatures import refuse_recursion, signatures_of
from cnnprof.spec.variables import refuse_unused, variables_of, variants_of
from cnnprof.spec.wanted import mapping_of

KEYS = ("input", "about", "vars", "variants", "blocks", "layers")


def parse(source: Source) -> Spec:
    """The spec in a YAML text. Raises SpecError at the first piece that is wrong."""
    root = reader.read(source)
    top = mapping_of(root, "a spec", f"it has the keys {', '.join(KEYS)}")
    for entry in top.entries:
        if entry.key.text not in KEYS:
            advice = did_you_mean(entry.key.text, KEYS) or f"a spec has the keys {', '.join(KEYS)}"
            raise SpecError("unknown-key", f'a spec has no key "{entry.key.text}"', entry.key.span, advice)
    for key in ("input", "layers"):
        if top.get(key) is None:
            raise SpecError("missing-key", f'the spec has no "{key}"', root.span, _MISSING[key])
    variables = variables_of(top.get("vars"))
    variants = variants_of(top.get("variants"), variables)
    known = {*variables, *(name for values in variants.values() for name in values)}
    signatures = signatures_of(top.get("blocks"))
    bodies = Bodies(signatures, frozenset(known))
    blocks = {name: bodies.block(signature) for name, signature in signatures.items()}
    refuse_recursion(blocks)
    layers = top.get("layers")
    assert layers is not None  # it was looked for above
    spec = Spec(
        source,
        bodies.input(top.get("input")),
        _about(top.get("about")),
        variables,
        variants,
        blocks,
        bodies.layers(layers),
    )
    refuse_unused(top, variables)  # last: where a name is misspelt that something reads, that place is the one to name
    return spec


_MISSING = {
    "input": "say what enters the network: input: 3x224x224",
    "layers": NO_LAYERS,
}


def _about(node: Node | None) -> dict[str, str]:
    """Whatever the author says about the network: a text, or title, authors, year …"""
    if node is None:
        return {}
    if isinstance(node, Scalar):
        return {"title": node.text}
    texts = {}
    for entry in mapping_of(node, "about", "write a text, or title, authors and year").entries:
        if not isinstance(entry.value, Scalar):
            raise SpecError("type", f'"{entry.key.text}" is a text', entry.value.span)
        texts[entry.key.text] = entry.value.text
    return texts
