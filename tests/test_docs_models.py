"""What docs/models.md shows is run as it stands there, and its tables say what the code does."""

import inspect
import re
from pathlib import Path

from family import FAMILY, make_model, members

import fastattn
from fastattn.models.parts import tensor_shapes

PAGE = (Path(fastattn.__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def said(block):
    """What a block says that it prints: what stands in a comment after a print, or in lines of their own below."""
    return re.findall(r"^ *print\(.*\)  # (.*)$|^# (.*)$", block, re.MULTILINE)


def test_the_examples_print_what_they_say(capsys):
    """In one namespace, from the top of the page to its end."""
    assert len(BLOCKS) > 10
    names: dict = {}
    with fastattn.use_backend("reference"):
        for block in BLOCKS:
            exec(compile(block, "docs/models.md", "exec"), names)
            assert capsys.readouterr().out.splitlines() == [after or below for after, below in said(block)], block


def test_each_option_stands_there_with_its_default():
    table = PAGE.split("## Options")[1].split("###")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", table, re.MULTILINE))
    parameters = inspect.signature(fastattn.AttentionSeq2seq).parameters.values()
    options = {p.name: repr(p.default).replace("'", '"') for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert rows == options


def table_of_tensors():
    """The name of a tensor, as a pattern -> the shapes that it may have, as they stand in the table."""
    for line in PAGE.split("<!-- names -->")[1].split("<!-- end -->")[0].splitlines():
        if line.startswith("| `"):
            names, shapes = line.split("|")[1:3]
            yield from ((name, re.findall(r"\(.*?\)", shapes)) for name in re.findall(r"`(.*?)`", names))


def expected_shapes(name, sizes):
    """A row of a layer's own number comes before one of any layer."""
    for pattern, shapes in table_of_tensors():
        if re.fullmatch(re.escape(pattern).replace(r"\{l\}", r"\d"), name):
            return [eval(re.sub(r"(\d)([A-Z])", r"\1 * \2", shape), {}, sizes) for shape in shapes]
    raise AssertionError(f"the page does not name {name}")


@members(FAMILY)
def test_each_tensor_stands_there_with_its_shape(choices):
    config = make_model(choices).config
    V1, V2, D, H = config.sizes
    sizes = {"V1": V1, "V2": V2, "D": D, "H": H, "H_enc": config.encoder_hidden, "E0": config.encoder_states}
    sizes |= {"E": config.encoder_width, "A": config.attention_size or H, "K": config.decoder_width}
    for name, shape in tensor_shapes(config).items():
        assert shape in expected_shapes(name, sizes), name


def test_each_tensor_of_the_table_is_one_of_some_model():
    names = {re.sub(r"\d", "{l}", name) for choices in FAMILY.values() for name in tensor_shapes(make_model(choices).config)}
    assert {re.sub(r"\d", "{l}", pattern) for pattern, _ in table_of_tensors()} == names
