"""The same weights in a PyTorch model give the same loss and the same gradients."""

import numpy as np
import pytest

import fastattn

torch = pytest.importorskip("torch")

V_SOURCE, V_TARGET, D, H = 13, 9, 7, 11
N, T1, T2 = 3, 5, 4
SOURCE_LENGTHS, TARGET_LENGTHS = [2, 5, 1], [4, 2, 3]


def to_torch_gates(W):
    """Columns f, g, i, o -> PyTorch's i, f, g, o."""
    f, g, i, o = np.split(W, 4, axis=-1)
    return np.concatenate((i, f, g, o), axis=-1)


def from_torch_gates(W):
    i, f, g, o = np.split(W, 4, axis=-1)
    return np.concatenate((f, g, i, o), axis=-1)


class TorchSeq2seq(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        dtype = torch.from_numpy(params[0]).dtype
        self.source = torch.nn.Embedding(V_SOURCE, D, dtype=dtype)
        self.encoder = torch.nn.LSTM(D, H, batch_first=True, dtype=dtype)
        self.target = torch.nn.Embedding(V_TARGET, D, dtype=dtype)
        self.decoder = torch.nn.LSTM(D, H, batch_first=True, dtype=dtype)
        self.affine = torch.nn.Linear(2 * H, V_TARGET, dtype=dtype)
        encoder, decoder = params[1:4], params[5:8]
        with torch.no_grad():
            self.source.weight.copy_(torch.from_numpy(params[0]))
            self.target.weight.copy_(torch.from_numpy(params[4]))
            for lstm, (Wx, Wh, b) in ((self.encoder, encoder), (self.decoder, decoder)):
                lstm.weight_ih_l0.copy_(torch.from_numpy(to_torch_gates(Wx).T))
                lstm.weight_hh_l0.copy_(torch.from_numpy(to_torch_gates(Wh).T))
                lstm.bias_ih_l0.copy_(torch.from_numpy(to_torch_gates(b)))
                lstm.bias_hh_l0.zero_()
            self.affine.weight.copy_(torch.from_numpy(params[8].T))
            self.affine.bias.copy_(torch.from_numpy(params[9]))

    def forward(self, x, t, source_lengths, target_lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(self.source(x), source_lengths, batch_first=True, enforce_sorted=False)
        hs_enc, (h, _) = self.encoder(packed)
        hs_enc, _ = torch.nn.utils.rnn.pad_packed_sequence(hs_enc, batch_first=True, total_length=T1)
        hs, _ = self.decoder(self.target(t[:, :-1]), (h, torch.zeros_like(h)))
        scores = hs @ hs_enc.transpose(1, 2)  # (N, T2 - 1, T1)
        padding = torch.arange(T1) >= source_lengths[:, None]
        a = torch.softmax(scores.masked_fill(padding[:, None, :], -torch.inf), dim=2)
        scores = self.affine(torch.cat((a @ hs_enc, hs), dim=2))
        targets = t[:, 1:].clone()
        targets[torch.arange(T2 - 1) >= target_lengths[:, None] - 1] = -100
        return torch.nn.functional.cross_entropy(scores.reshape(-1, V_TARGET), targets.reshape(-1), ignore_index=-100)

    def gradients(self):
        """In our order and layout."""
        lstms = [
            [
                from_torch_gates(lstm.weight_ih_l0.grad.numpy().T),
                from_torch_gates(lstm.weight_hh_l0.grad.numpy().T),
                from_torch_gates(lstm.bias_ih_l0.grad.numpy()),
            ]
            for lstm in (self.encoder, self.decoder)
        ]
        return [
            self.source.weight.grad.numpy(),
            *lstms[0],
            self.target.weight.grad.numpy(),
            *lstms[1],
            self.affine.weight.grad.numpy().T,
            self.affine.bias.grad.numpy(),
        ]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-10)])
@pytest.mark.parametrize(
    ("source_lengths", "target_lengths"),
    [(None, None), (SOURCE_LENGTHS, TARGET_LENGTHS)],
    ids=["whole", "padded"],
)
def test_loss_and_gradients(backend, rng, dtype, tolerance, source_lengths, target_lengths):
    model = fastattn.AttentionSeq2seq(V_SOURCE, D, H, target_vocabulary=V_TARGET, dtype=dtype, seed=1)
    for p in model.params:
        p += 0.3 * rng.standard_normal(p.shape)
    x, t = rng.integers(0, V_SOURCE, (N, T1)), rng.integers(0, V_TARGET, (N, T2))
    loss = model.forward(x, t, source_lengths=source_lengths, target_lengths=target_lengths)
    model.backward()

    twin = TorchSeq2seq(model.params)
    twin_loss = twin(
        torch.from_numpy(x),
        torch.from_numpy(t),
        torch.tensor(source_lengths or [T1] * N),
        torch.tensor(target_lengths or [T2] * N),
    )
    twin_loss.backward()

    assert loss == pytest.approx(twin_loss.item(), rel=tolerance)
    for grad, expected in zip(model.grads, twin.gradients(), strict=True):
        assert np.linalg.norm(grad - expected) <= tolerance * np.linalg.norm(expected)
