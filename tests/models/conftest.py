import pytest
from helpers import skip_without_compiled_kernels

import fastattn


@pytest.fixture(params=["compiled", "compiled, layer by layer", "reference"])
def backend(request, monkeypatch):
    """The test runs on each kernel set, and on the compiled one in the way that large models take, too."""
    name, *layers = request.param.split(", ")
    if name == "compiled":
        skip_without_compiled_kernels()
    with fastattn.use_backend(name):
        if layers:
            monkeypatch.setattr(fastattn.backend.kernels(), "seq2seq_as_one", lambda *batch: False)
        yield name
