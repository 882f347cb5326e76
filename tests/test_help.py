"""What `help` says of public names: signatures as they are written, not with NumPy's types spelt out."""

import importlib
import inspect

import pytest

MODULES = (
    "fastattn",
    "fastattn.layers",
    "fastattn.models",
    "fastattn.training",
    "fastattn.data",
    "fastattn.evaluation",
    "fastattn.drawing",
    "fastattn.compat.dlfs2",
)


def signatures(name):
    """Of all that is public in a module, and of what is public in its classes: names and signatures."""
    module = importlib.import_module(name)
    for public in module.__all__:
        given = getattr(module, public)
        members = {"": given}
        if inspect.isclass(given):
            members |= {f".{key}": value for key, value in inspect.getmembers(given, callable) if not key.startswith("_")}
        for member, value in members.items():
            try:
                yield public + member, inspect.signature(value)
            except (TypeError, ValueError):  # what has none
                continue


@pytest.mark.parametrize("name", MODULES)
def test_no_signature_spells_out_what_an_array_may_be(name):
    found = dict(signatures(name))
    assert len(found) > 5
    for public, signature in found.items():
        # A line for each parameter, as Python 3.13 shows long ones.
        lines = [str(parameter) for parameter in signature.parameters.values()] + [str(signature.return_annotation)]
        longest = max(lines, key=len)
        assert len(longest) <= 130, f"{public}: {longest}"
        assert len(str(signature)) <= 200 or len(str(signature)) <= 60 * len(lines), f"{public}: {signature}"
        assert "_SupportsArray" not in str(signature), public
