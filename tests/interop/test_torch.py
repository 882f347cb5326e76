"""Models of the family in PyTorch and back: the same outputs, losses, gradients and steps; dropout in the same places."""

import sys

import numpy as np
import pytest
from family import (
    DROPPING,
    PADDED,
    STEADY,
    T1,
    T2,
    V_SOURCE,
    V_TARGET,
    D,
    H,
    N,
    lengths,
    make_batch,
    make_model,
    members,
    moved,
)
from helpers import run_python

import fastattn

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from fastattn.interop import modules  # noqa: E402
from fastattn.interop import torch as interop  # noqa: E402
from fastattn.interop.torch import from_torch, to_torch  # noqa: E402

FAMILY = STEADY | DROPPING


@pytest.fixture(autouse=True)
def reference():
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def tensors(lengths):
    return {name: torch.tensor(each) for name, each in lengths.items()}


def scores_of(model, x, t, lengths):
    source, target = lengths.get("source_lengths"), lengths.get("target_lengths")
    hs_enc = model.encoder.forward(x, lengths=source)
    given = {"lengths": None if target is None else np.array(target) - 1, "source_lengths": source}
    return model.decoder.forward(t[:, :-1], hs_enc, **given, states=model.encoder.final_states)


def gradients_of(module):
    """The gradients by fastattn's names, as fastattn has them."""
    state = {name: param.grad for name, param in module.named_parameters(remove_duplicate=False)}
    assert [name for name, grad in state.items() if grad is None] == [name for name in state if interop.SECOND in name]
    state = {name: torch.zeros_like(p) if state[name] is None else state[name] for name, p in module.state_dict().items()}
    return dict(interop._arrays(state, module.config))


@lengths
@members(FAMILY)
def test_the_outputs_are_the_same(choices, lengths, rng):
    model = moved(make_model(choices), rng).eval()
    x, t = make_batch(rng, model)
    module = to_torch(model)
    assert not module.training
    with torch.no_grad():
        scores = module(torch.from_numpy(x), torch.from_numpy(t), **tensors(lengths)).numpy()
        loss = module.loss(torch.from_numpy(x), torch.from_numpy(t), **tensors(lengths)).item()
    np.testing.assert_allclose(scores, scores_of(model, x, t, lengths), rtol=1e-5, atol=1e-5)
    assert loss == pytest.approx(model.forward(x, t, **lengths), rel=1e-5)


@members(STEADY)
def test_a_step_of_training_is_the_same(choices, rng):
    """The loss, the gradients, and what a step of SGD makes of the weights."""
    model = moved(make_model(choices, dtype="float64"), rng)
    x, t = make_batch(rng, model)
    module = to_torch(model)
    optimizers = fastattn.SGD(0.1), torch.optim.SGD(module.parameters(), 0.1)
    for _ in range(2):
        loss = model.forward(x, t, **PADDED)
        model.backward()
        optimizers[1].zero_grad()
        of_module = module.loss(torch.from_numpy(x), torch.from_numpy(t), **tensors(PADDED))
        of_module.backward()
        assert loss == pytest.approx(of_module.item(), rel=1e-10)
        gradients = gradients_of(module)
        for name, grad in zip(model.named_params(), model.grads, strict=True):
            np.testing.assert_allclose(gradients[name], grad, rtol=1e-8, atol=1e-10, err_msg=name)
        optimizers[0].update(model.params, model.grads)
        optimizers[1].step()
    for (name, param), other in zip(model.named_params().items(), from_torch(module).params, strict=True):
        np.testing.assert_allclose(other, param, rtol=1e-8, atol=1e-10, err_msg=name)


@members(FAMILY)
def test_there_and_back(choices, rng):
    """By the module, and by its state dict."""
    model = moved(make_model(choices), rng)
    module = to_torch(model)
    for back in (from_torch(module), from_torch(module.state_dict(), model.config)):
        assert back.config == model.config
        for a, b in zip(back.params, model.params, strict=True):
            np.testing.assert_array_equal(a, b)
            assert not np.shares_memory(a, b)
    assert from_torch(module).training
    assert not from_torch(module.eval()).training


@members(STEADY)
def test_greedy_finds_the_same(choices, rng):
    model = moved(make_model(choices), rng)
    x, _ = make_batch(rng, model)
    source_lengths = PADDED["source_lengths"]
    module = to_torch(model)
    given = {"end_id": 2, "forbidden": [0, 1]}
    ids = module.generate(torch.from_numpy(x), 1, 6, lengths=torch.tensor(source_lengths), **given)
    np.testing.assert_array_equal(ids, model.generate(x, 1, 6, lengths=source_lengths, **given))
    assert module.training


def test_greedy_without_end_or_forbidden_tokens(rng):
    model = moved(make_model({}), rng)
    x, _ = make_batch(rng, model)
    np.testing.assert_array_equal(to_torch(model).generate(torch.from_numpy(x), 1, 6), model.generate(x, 1, 6))


def test_no_random_number_of_pytorch_is_used_up():
    before = torch.random.get_rng_state()
    to_torch(make_model({}))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_padding_is_not_read(rng):
    """Any integer may stand there."""
    model = make_model(STEADY["feeding"]).eval()
    x, t = make_batch(rng, model)
    module, results = to_torch(model), []
    for anything in (-5, 10**6):
        x[0, 2:] = t[1, 2:] = anything
        results.append(module(torch.from_numpy(x), torch.from_numpy(t), **tensors(PADDED)))
    assert torch.equal(*results)


def dropped(module, kind):
    """Calls of the layers of a kind that drop something: {name of the layer: shapes of what it was given}."""
    shapes = {}
    for name, part in module.named_modules():
        if type(part) is kind and part.p > 0:
            part.register_forward_hook(
                lambda part, given, _, name=name: shapes.setdefault(name, []).append((tuple(given[0].shape), part.p))
            )
    return shapes


U = T2 - 1
PLACES = {
    "embedding": {"encoder.embedding_dropout": [(N, T1, D)], "decoder.embedding_dropout": [(N, U, D)]},
    "layers": {"encoder.layer_dropout": [(N, T1, H)], "decoder.layer_dropout": [(N, U, H)]},
    "encoder": {"encoder.output_dropout": [(N, T1, H)]},
    "output": {"decoder.output_dropout": [(N, U, 2 * H)]},
}


@pytest.mark.parametrize("place", PLACES)
def test_dropout_stands_in_its_places(place, rng):
    model = make_model({"encoder_layers": 2, "decoder_layers": 2, "dropout": {place: 0.4}})
    x, t = make_batch(rng, model)
    module = to_torch(model)
    calls = dropped(module, nn.Dropout)
    module(torch.from_numpy(x), torch.from_numpy(t))
    assert calls == {name: [(shape, 0.4) for shape in shapes] for name, shapes in PLACES[place].items()}


@members(DROPPING)
def test_dropout_drops_in_training_alone(choices, rng):
    model = moved(make_model(choices), rng)
    x, t = map(torch.from_numpy, make_batch(rng, model))
    module = to_torch(model)
    assert not torch.equal(module(x, t), module(x, t))
    module.eval()
    assert torch.equal(module(x, t), module(x, t))


def test_word_dropout_drops_whole_tokens(rng):
    module = to_torch(make_model({"word_dropout": 0.5}))
    vectors = module.encoder.embed(torch.from_numpy(rng.integers(0, V_SOURCE, (20, 20))), None)
    zeros = (vectors == 0).sum(dim=2)
    assert set(zeros.flatten().tolist()) == {0, D}


@pytest.mark.parametrize("choices", [{"bidirectional": True, "bridge": "affine", "attention": "general"}, STEADY["fed, deep"]])
@lengths
def test_recurrent_dropout_has_one_mask_for_all_steps(choices, lengths, rng, monkeypatch):
    """Given the masks that fastattn drew, the scores are fastattn's."""
    model = moved(make_model(choices, recurrent_dropout=0.5), rng)
    x, t = make_batch(rng, model)
    lstms = [*model.encoder.lstm.lstms, *model.decoder.lstm.lstms]
    masks = iter([torch.from_numpy(lstm.recurrent_dropout.mask(N, H, np.dtype("float32"))) for lstm in lstms])
    model.step = 0
    module = to_torch(model)
    monkeypatch.setattr(modules.LSTMLayer, "mask", lambda self, h: next(masks))
    scores = module(torch.from_numpy(x), torch.from_numpy(t), **tensors(lengths)).detach().numpy()
    np.testing.assert_allclose(scores, scores_of(model, x, t, lengths), rtol=1e-5, atol=1e-5)


LSTMS = [
    {},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "bias": False, "batch_first": False},
    {"num_layers": 2, "dropout": 0.4},
]


@pytest.mark.parametrize("options", LSTMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_lstm(options, dtype, rng):
    """The outputs, the last states and the gradients; of a bias, that of either of the two."""
    theirs = nn.LSTM(D, H, dtype=dtype, **{"batch_first": True, **options})
    ours = from_torch(theirs)
    for dropout in getattr(ours, "dropouts", ()):
        assert (dropout.ratio, dropout.training) == (options.get("dropout", 0), True)
        dropout.training = False
    theirs.eval()
    xs = torch.tensor(rng.standard_normal((N, T1, D)), dtype=dtype, requires_grad=True)
    turned = (lambda each: each) if theirs.batch_first else (lambda each: each.transpose(0, 1))
    out, (h, _) = theirs(turned(xs))
    out = turned(out)
    dout = torch.tensor(rng.standard_normal(out.shape), dtype=dtype)
    out.backward(dout)
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(ours.forward(xs.detach().numpy()), out.detach(), **tolerance)
    np.testing.assert_allclose([lstm.h for lstm in ours.lstms], h.detach(), **tolerance)
    np.testing.assert_allclose(ours.backward(dout.numpy()), xs.grad, **tolerance)
    for lstm, (W_x, W_h, *b) in zip(ours.lstms, theirs.all_weights, strict=True):
        for grad, weight in zip(lstm.grads, (W_x, W_h, *b[:1])):
            expected = interop._reordered(weight.grad.numpy().T, interop.THEIRS, interop.OURS)
            np.testing.assert_allclose(grad, expected, **tolerance)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear(bias, rng):
    theirs = nn.Linear(D, H, bias=bias)
    xs = rng.standard_normal((N, T1, D)).astype("float32")
    ours = from_torch(theirs)
    assert len(ours.params) == 1 + bias
    np.testing.assert_allclose(ours.forward(xs), theirs(torch.from_numpy(xs)).detach(), rtol=1e-5, atol=1e-6)


def test_an_embedding(rng):
    theirs = nn.Embedding(V_SOURCE, D, padding_idx=0)
    ids = rng.integers(0, V_SOURCE, (N, T1))
    ours = from_torch(theirs)
    np.testing.assert_array_equal(ours.forward(ids), theirs(torch.from_numpy(ids)).detach())
    ours.params[0][...] = 0
    assert theirs.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.GRU(3, 4), TypeError, "given is GRU; expected an nn.LSTM, nn.Embedding, nn.Linear, a Seq2seq"),
        (lambda: nn.LSTM(3, 4, proj_size=2), ValueError, "proj_size=2; expected 0"),
        (lambda: nn.Linear(3, 4).half(), TypeError, "weight has dtype torch.float16; expected float32 or float64"),
        (lambda: nn.Embedding(3, 4, max_norm=1.0), ValueError, "max_norm=1.0; expected None"),
        (lambda: nn.Embedding(3, 4, scale_grad_by_freq=True), ValueError, "scale_grad_by_freq=True; expected False"),
        (dict, TypeError, "config is NoneType; expected a ModelConfig, for a state dict does not tell it"),
    ],
)
def test_what_cannot_be_taken_is_said(make, error, words):
    with pytest.raises(error, match=words.replace(".", r"\.")):
        from_torch(make())


def test_what_cannot_be_given_is_said():
    model = make_model({})
    with pytest.raises(TypeError, match="model is Ensemble; expected an AttentionSeq2seq: give one of its models"):
        to_torch(fastattn.Ensemble([model, model]))
    with pytest.raises(TypeError, match="model is Encoder; expected an AttentionSeq2seq"):
        to_torch(model.encoder)
    model.params[0] = model.params[0][1:]
    with pytest.raises(ValueError, match="those of its config"):
        to_torch(model)


def test_a_state_dict_that_does_not_fit_is_refused_by_name():
    model = make_model({"tie_embeddings": True, "attentional_size": D})
    state = to_torch(model).state_dict()
    weight = state["decoder.affine.weight"]
    faults = [
        ({"decoder.affine.weight": weight + 1}, "'decoder.embedding.weight' and 'decoder.affine.weight' differ"),
        ({"decoder.affine.weight": weight[1:]}, rf"'decoder.affine.weight' has shape \({V_TARGET - 1}, {D}\)"),
        ({"other": weight}, "'other' is no tensor of a model of this config"),
    ]
    for fault, words in faults:
        with pytest.raises(ValueError, match=words):
            from_torch({**state, **fault}, model.config)
    with pytest.raises(TypeError, match=r"decoder.affine.weight has dtype torch.float64; expected float32"):
        from_torch({**state, "decoder.affine.weight": weight.double()}, model.config)
    del state["decoder.affine.bias"]
    with pytest.raises(ValueError, match=r"the state dict has no 'decoder.affine.bias'"):
        from_torch(state, model.config)


def test_the_module_is_made_of_standard_parts_and_shares_what_is_tied():
    module = to_torch(make_model(STEADY["tied and shared"]))
    assert module.decoder.affine.weight is module.encoder.embedding.weight
    holders = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    assert len(holders) > 5
    assert all(isinstance(part, nn.Embedding | nn.LSTM | nn.Linear) for part in holders)


def test_without_pytorch_it_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    import fastattn.interop.torch\nexcept ImportError as error:\n    print(error)"
    )
    said = run_python(code, PYTHONPATH=":".join(filter(None, sys.path)))
    assert said == "fastattn.interop.torch needs torch; install it with: pip install 'fastattn[torch]'\n"
