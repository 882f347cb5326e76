"""fastattn in a kernel of Jupyter's: what its cells show, and what an interrupt does."""

import base64
import os
import queue
import re
import sys
import time

import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'fastattn[test]'")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install 'fastattn[test]'")

PRELUDE = """
import fastattn
from fastattn import AttentionSeq2seq, Translator
fastattn.set_backend("reference")
pairs = [(a + b + c, c + b + a) for a in "abcd" for b in "abcd" for c in "abcd"]
sizes = {"hidden": 8, "embedding": 4, "batch_size": 8, "valid_fraction": 0.1}
"""
# As if a package were not installed.
WITHOUT = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {name!r} else find_spec(name, *more)
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """A kernel finds fastattn where the tests do."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # which figures a notebook shows
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def run_cells(*sources):
    """The outputs of each cell, in a kernel of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    return [cell.outputs for cell in notebook.cells]


def data_of(outputs):
    """What a cell's last output is, by kind."""
    assert [each.output_type for each in outputs] == ["execute_result"], outputs
    return outputs[0].data


@pytest.mark.filterwarnings("ignore")  # of Jupyter's packages
def test_what_a_notebook_shows_of_a_model_a_training_and_where_it_looks():
    pytest.importorskip("matplotlib")
    train = WITHOUT.format(name="ipywidgets") + "translator = Translator.train(pairs, epochs=2, **sizes)"
    shown = "translator.model", "translator", "translator.history", "translator.outcome", "translator.attention('abc')"
    _, training, model, translator, history, outcome, attention = map(list, run_cells(PRELUDE, train, *shown))

    assert {each.name for each in training} == {"stdout"}  # none in the colour of mistakes
    said = "".join(each.text for each in training)
    assert re.findall(r"^epoch ([12])/2  loss \d", said, re.MULTILINE) == ["1", "2"]

    assert "<td>encoder.lstm.0.forward</td><td>Wx (4, 32), Wh (8, 32), b (32,)</td><td>416</td>" in data_of(model)["text/html"]
    assert data_of(model)["text/plain"].startswith("<AttentionSeq2seq of ")
    assert "<td>held-out exact match</td>" in data_of(translator)["text/html"]
    table = data_of(history)["text/html"]
    assert table.count("<tr>") == 3
    assert is_png(re.search('src="data:image/png;base64,([^"]+)"', table)[1])
    assert data_of(outcome)["text/html"] == "<p>epoch 2 was kept, the last; all 2 epochs were made</p>"
    assert is_png(data_of(attention)["image/png"])


def is_png(text):
    return base64.b64decode(text).startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore")
def test_a_drawing_of_ones_own_is_shown_once():
    pytest.importorskip("matplotlib")
    train = "translator = Translator.train(pairs, epochs=2, progress=False, **sizes)"
    _, curve, looked = run_cells(PRELUDE + train, "translator.history.plot();", "translator.attention('abc').plot();")
    for outputs in (curve, looked):
        assert [each.output_type for each in outputs] == ["display_data"]
        assert is_png(outputs[0].data["image/png"])


@pytest.mark.filterwarnings("ignore")
def test_without_matplotlib_attention_is_a_table():
    train = WITHOUT.format(name="matplotlib") + "translator = Translator.train(pairs, epochs=2, progress=False, **sizes)"
    _, attention, history = run_cells(PRELUDE + train, "translator.attention('abc')", "translator.history")
    assert data_of(attention)["text/html"].startswith("<table><thead><tr><th><bdi></bdi></th><th><bdi>a</bdi></th>")
    assert "<img" not in data_of(history)["text/html"]


@pytest.mark.filterwarnings("ignore")
def test_with_widgets_a_training_is_a_bar():
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed: pip install 'fastattn[notebook]'")
    cells = [nbformat.v4.new_code_cell(each) for each in (PRELUDE, "Translator.train(pairs, epochs=2, **sizes);")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300)
    client.execute()
    outputs = cells[1].outputs
    assert "application/vnd.jupyter.widget-view+json" in outputs[0].data
    assert not [each for each in outputs if each.output_type == "stream"]
    bars = [state for state in client.widget_state.values() if state["_model_name"] == "FloatProgressModel"]
    assert [(bar["value"], bar["bar_style"]) for bar in bars] == [(bars[0]["max"], "success")]
    words = " ".join(state["value"] for state in client.widget_state.values() if state["_model_name"] == "HTMLModel")
    assert "epoch 2/2" in words.replace("\N{FIGURE SPACE}", " ")
    assert "loss" in words


class Kernel:
    """A kernel that runs a cell and is interrupted in it."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def start(self, code):
        return self.client.execute(code, stop_on_error=False)

    def printed(self, request, seconds=60):
        """What the cell prints next."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "stream":
                return message["content"]["text"]
        raise AssertionError("the cell printed nothing")

    def reply(self, request):
        while True:
            message = self.client.get_shell_msg(timeout=60)
            if message["parent_header"].get("msg_id") == request:
                return message["content"]

    def run(self, code):
        """The text of a cell that prints, and ends well."""
        request = self.start(code)
        said = self.printed(request)
        assert self.reply(request)["status"] == "ok"
        return said.strip()


@pytest.fixture
def kernel():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


LONG = """
options = {**sizes, "epochs": 100000, "progress": False, "valid_fraction": 0.0}
def told(record):
    if record.epoch == 3:
        print("epoch 3", flush=True)
"""


@pytest.mark.filterwarnings("ignore")
def test_an_interrupt_of_the_kernel_keeps_the_step_and_the_run_goes_on(kernel, tmp_path):
    """As docs/reliability.md has it: the step is finished, a checkpoint written, KeyboardInterrupt raised."""
    folder = str(tmp_path / "model")
    begin = f"from fastattn.training import TrainingRun\nfolder = {folder!r}\n"
    cell = "Translator.train(pairs, folder=folder, callbacks=[told], **options)"
    request = kernel.start(PRELUDE + LONG + begin + cell)
    assert kernel.printed(request) == "epoch 3\n"
    kernel.manager.interrupt_kernel()
    reply = kernel.reply(request)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    epochs = int(kernel.run("print(len(Translator.load(folder).history))"))
    assert epochs >= 3
    checkpoints = [path.name for path in (tmp_path / "model" / "checkpoints").iterdir()]
    assert checkpoints
    last = f"""
class Enough(Exception):
    pass
def one_more(record):
    raise Enough
run = TrainingRun.resume(folder, pairs=pairs)
try:
    run.train([one_more])
except Enough:
    print([record.epoch for record in run.history] == list(range(1, {epochs} + 2)))
"""
    assert kernel.run(last) == "True"


@pytest.mark.filterwarnings("ignore")
def test_an_interrupt_in_memory_leaves_a_model_that_can_be_used(kernel):
    cell = """
import numpy as np
from fastattn.training import Adam, Trainer
model = AttentionSeq2seq(9, 4, 8, seed=0)
x = np.random.default_rng(0).integers(1, 9, (64, 5))
trainer = Trainer(model, Adam(0.01))
trainer.fit(x, x, 100000, 8, seed=0, callbacks=[told])
"""
    request = kernel.start(PRELUDE + LONG + cell)
    assert kernel.printed(request) == "epoch 3\n"
    kernel.manager.interrupt_kernel()
    assert kernel.reply(request)["ename"] == "KeyboardInterrupt"
    assert kernel.run("print(all(np.isfinite(each).all() for each in model.params), model.generate(x[:1], 1, 4).shape)") == (
        "True (1, 4)"
    )
    # The handler of signals is the kernel's again.
    assert kernel.run("import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)") == "True"
