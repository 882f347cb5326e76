"""The asv suites, as far as they can be tried without asv: every kernel's smallest call, and commits that lack a layer."""

import itertools

import pytest

import fastattn
from benchmarks.shapes import OF_LAYERS
from benchmarks.suites import cases, kernels, training


@pytest.fixture
def back_to_the_backend():
    with fastattn.use_backend(fastattn.get_backend()):
        yield
    fastattn.set_num_threads(cases.ALL_THREADS)


KERNELS = [kind for name, kind in vars(kernels).items() if hasattr(kind, "case") and not name.startswith("_")]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_the_smallest_call_of_each_layer(kernel, back_to_the_backend):
    assert "one" in kernel.params[1]
    assert set(kernel.params[1]) <= OF_LAYERS.keys()
    benchmark = kernel()
    benchmark.setup(cases.REFERENCE, "one")
    for _ in range(2):
        benchmark.time_forward()
        benchmark.time_backward()


@pytest.mark.parametrize("kernel", [kernels.BiLSTM, kernels.StackedLSTM, kernels.InputFeedingLSTM, kernels.Attentional])
def test_a_commit_without_a_layer_is_passed_over(kernel, monkeypatch, back_to_the_backend):
    for name in ("BiLSTM", "StackedLSTM", "InputFeedingLSTM", "Tanh"):
        monkeypatch.delattr(fastattn, name)
    with pytest.raises(NotImplementedError, match="this commit has no "):
        kernel().setup(cases.REFERENCE, "one")


def test_a_commit_without_kinds_of_attention_is_passed_over(monkeypatch, back_to_the_backend):
    class Earlier:
        def __init__(self, join=False):
            pass

    monkeypatch.setattr(fastattn, "Attention", Earlier)
    for kernel in (kernels.AttentionGeneral, kernels.AttentionAdditive):
        with pytest.raises(NotImplementedError, match="this commit has no Attention with kind"):
            kernel().setup(cases.REFERENCE, "one")


def test_the_reference_set_is_not_measured_where_it_is_slow(back_to_the_backend):
    step = training.FamilyStep()
    measured = set()
    for combination in itertools.product([cases.REFERENCE], *step.params[1:]):
        try:
            step.setup(*combination)
        except NotImplementedError:
            continue
        step.time_step()
        measured.add(combination[1:])
    assert measured == {("bi", "tiny"), ("deep", "tiny"), ("feeding", "tiny")}


def test_a_beam_of_every_model(back_to_the_backend, monkeypatch):
    beam = training.Beam()
    measured = set()
    for combination in itertools.product([cases.REFERENCE], *beam.params[1:]):
        try:
            beam.setup(*combination)
        except NotImplementedError:
            continue
        beam.time_search()
        measured.add(combination[1:])
    assert measured == {(model, "tiny", 1) for model in ("plain", "bi", "deep", "feeding")}
    monkeypatch.setattr(fastattn.AttentionSeq2seq, "generate", lambda self, x, start_id, sample_size: x)
    with pytest.raises(NotImplementedError, match="no beam search"):
        beam.setup(cases.REFERENCE, "plain", "tiny", 1)
