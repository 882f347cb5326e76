"""Directions and stacks give what PyTorch's nn.LSTM gives with the same weights, forward and backward."""

import numpy as np
import pytest
from helpers import bilstm_of, lstm_of, normal

import fastattn

torch = pytest.importorskip("torch")

N, T, D, H = 3, 5, 7, 11


def gates(W, order):
    """Columns in the order f, g, i, o to another, or back."""
    parts = dict(zip("fgio" if order == "ifgo" else "ifgo", np.split(W, 4, axis=-1), strict=True))
    return np.concatenate([parts[gate] for gate in order], axis=-1)


def names(layers, directions):
    for layer in range(layers):
        for direction in range(directions):
            yield f"l{layer}" + "_reverse" * direction


def twin_of(lstms, layers, directions, dtype):
    """nn.LSTM with our weights, which stand in its order: layer by layer, forward before backward."""
    twin = torch.nn.LSTM(D, H, layers, batch_first=True, bidirectional=directions == 2, dtype=dtype)
    with torch.no_grad():
        for name, lstm in zip(names(layers, directions), lstms, strict=True):
            Wx, Wh, b = (torch.from_numpy(gates(p, "ifgo")) for p in lstm.params)
            getattr(twin, f"weight_ih_{name}").copy_(Wx.T)
            getattr(twin, f"weight_hh_{name}").copy_(Wh.T)
            getattr(twin, f"bias_ih_{name}").copy_(b)
            getattr(twin, f"bias_hh_{name}").zero_()
    return twin


@pytest.mark.parametrize("lengths", [None, [2, 5, 1]], ids=["whole", "padded"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
@pytest.mark.parametrize(("layers", "directions"), [(1, 2), (3, 1), (2, 2)])
def test_states_and_gradients(backend, rng, layers, directions, dtype, tolerance, lengths):
    make = bilstm_of if directions == 2 else lstm_of
    parts = [make(rng, D if i == 0 else directions * H, H, np.dtype(dtype).type) for i in range(layers)]
    layer = fastattn.StackedLSTM(parts) if layers > 1 else parts[0]
    xs, dhs = (normal(rng, N, T, width, dtype=dtype) for width in (D, directions * H))
    h0, c0, dh, dc = (normal(rng, layers * directions, N, H, dtype=dtype) for _ in range(4))
    for lstm, h, c in zip(layer.lstms, h0, c0, strict=True):
        lstm.set_state(h, c)
    hs = layer.forward(xs, lengths=lengths)
    last = [d.reshape(layers, directions, N, H) for d in (dh, dc)]
    if directions == 1:
        last = [d[:, 0] for d in last]
    dh_last, dc_last = ([*d] if layers > 1 else d[0] for d in last)
    dxs = layer.backward(dhs, dh_last=dh_last, dc_last=dc_last)

    twin = twin_of(layer.lstms, layers, directions, torch.from_numpy(xs).dtype)
    given = [torch.from_numpy(array).requires_grad_() for array in (xs, h0, c0)]
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        given[0], torch.tensor(lengths or [T] * N), batch_first=True, enforce_sorted=False
    )
    out, (h, c) = twin(packed, tuple(given[1:]))
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=T)
    value = (out * torch.from_numpy(dhs)).sum() + (h * torch.from_numpy(dh)).sum() + (c * torch.from_numpy(dc)).sum()
    value.backward()

    pairs = [(hs, out.detach()), (dxs, given[0].grad)]
    for i, (name, lstm) in enumerate(zip(names(layers, directions), layer.lstms, strict=True)):
        states = (lstm.h, h[i].detach()), (lstm.c, c[i].detach()), (lstm.dh, given[1].grad[i]), (lstm.dc, given[2].grad[i])
        pairs += states
        kinds = ("weight_ih", "weight_hh", "bias_ih")
        pairs += [
            (grad, gates(getattr(twin, f"{kind}_{name}").grad.numpy().T, "fgio")) for grad, kind in zip(lstm.grads, kinds)
        ]
    for ours, expected in pairs:
        expected = np.asarray(expected)
        assert ours.shape == expected.shape
        assert np.linalg.norm(ours - expected) <= tolerance * np.linalg.norm(expected)
