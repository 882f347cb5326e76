"""The same weights in a PyTorch model give the same loss and the same gradients.

PyTorch's own LSTM, of all layers and directions at once where nothing stands between them; attention is written by hand.
"""

import numpy as np
import pytest
from family import PADDED, STEADY, T1, T2, WHOLE, N, lengths, make_batch, make_model, members, moved

torch = pytest.importorskip("torch")


def to_torch_gates(W):
    """(..., 4H) with the gates f, g, i, o -> PyTorch's i, f, g, o, as PyTorch has it: (4H, ...)."""
    f, g, i, o = torch.chunk(W, 4, dim=-1)
    return torch.cat((i, f, g, o), dim=-1).T if W.ndim == 2 else torch.cat((i, f, g, o))


class TorchModel:
    """A member of the family in PyTorch, with the weights of ``model`` as leaves, in our layout and under our names."""

    def __init__(self, model):
        self.config = model.config
        self.weights = {name: torch.from_numpy(p.copy()).requires_grad_() for name, p in model.named_params().items()}

    def __getitem__(self, name):
        return self.weights[name]

    def lstm(self, name, layers, directions, inputs, state, source_lengths=None):
        """nn.LSTM of ``layers`` from ``state`` -> all states, (h, c) of all layers and directions."""
        weights = {}
        for i, layer in enumerate(layers):
            for direction, ending in zip(directions, ("", "_reverse")):
                Wx, Wh, b = (to_torch_gates(self[f"{name}.{layer}.{direction}.{kind}"]) for kind in ("Wx", "Wh", "b"))
                ours = {"weight_ih": Wx, "weight_hh": Wh, "bias_ih": b, "bias_hh": torch.zeros_like(b)}
                weights |= {f"{kind}_l{i}{ending}": weight for kind, weight in ours.items()}
        H = Wh.shape[1]
        lstm = torch.nn.LSTM(
            inputs.shape[2], H, len(layers), batch_first=True, bidirectional=len(directions) == 2, dtype=Wx.dtype
        )
        if source_lengths is not None:
            inputs = torch.nn.utils.rnn.pack_padded_sequence(inputs, source_lengths, batch_first=True, enforce_sorted=False)
        hs, state = torch.func.functional_call(lstm, weights, (inputs, state))
        if source_lengths is not None:
            hs, _ = torch.nn.utils.rnn.pad_packed_sequence(hs, batch_first=True, total_length=T1)
        return hs, state

    def stack(self, name, count, directions, inputs, state, source_lengths=None):
        """All layers at once; one by one where residual connections go round them."""
        if not self.config.residual:
            return self.lstm(name, range(count), directions, inputs, state, source_lengths)
        G, ends = len(directions), []
        for layer in range(count):
            of_layer = None if state is None else tuple(s[G * layer : G * layer + G] for s in state)
            hs, end = self.lstm(name, [layer], directions, inputs, of_layer, source_lengths)
            inputs = hs + inputs if layer else hs
            ends.append(end)
        return inputs, tuple(torch.cat(states) for states in zip(*ends))

    def encode(self, x, source_lengths):
        """-> the encoder's states (N, T1, E); h and c of its layers, (N, E0) each."""
        config = self.config
        directions = ("forward", "backward")[: config.directions]
        embedded = self["encoder.embedding.W"][x]
        hs, (h, c) = self.stack("encoder.lstm", config.encoder_layers, directions, embedded, None, source_lengths)
        if config.project_encoder:
            hs = hs @ self["encoder.projection.W"] + self["encoder.projection.b"]
        h, c = (s.unflatten(0, (config.encoder_layers, -1)).transpose(1, 2).flatten(2) for s in (h, c))  # (L, N, E0)
        return hs, h, c

    def first_state(self, h, c):
        """(L, N, E0) of the encoder -> (L, N, H) of the decoder."""
        config, zeros = self.config, torch.zeros(len(h[0]), self.config.hidden, dtype=h.dtype)
        states = []
        for layer in range(config.decoder_layers):
            of_h, of_c = (s[min(layer, config.encoder_layers - 1)] for s in (h, c))
            if config.bridge == "affine":
                name = f"decoder.bridge.{layer}"
                of_h = torch.tanh(of_h @ self[f"{name}.h.W"] + self[f"{name}.h.b"])
                of_c = torch.tanh(of_c @ self[f"{name}.c.W"] + self[f"{name}.c.b"])
            elif config.bridge == "last":
                of_c = zeros
            elif config.bridge == "zeros":
                of_h = of_c = zeros
            states.append((of_h, of_c))
        return tuple(torch.stack(s) for s in zip(*states))

    def attend(self, hs, hs_enc, padding):
        """hs (N, T2, H), hs_enc (N, T1, E) -> contexts and states (N, T2, E + H)."""
        kind = self.config.attention
        if kind is None:
            return hs
        if kind == "additive":
            keys, queries = hs_enc @ self["decoder.attention.W"], hs @ self["decoder.attention.W_query"]
            scores = torch.tanh(queries[:, :, None] + keys[:, None]) @ self["decoder.attention.v"]
        else:
            keys = hs_enc @ self["decoder.attention.W"] if kind == "general" else hs_enc
            scores = hs @ keys.transpose(1, 2)
            scores = scores / hs.shape[2] ** 0.5 if kind == "scaled_dot" else scores
        a = torch.softmax(scores.masked_fill(padding[:, None, :], -torch.inf), dim=2)
        return torch.cat((a @ hs_enc, hs), dim=2)

    def decode(self, embedded, state, hs_enc, padding):
        """-> what the scores are made of (N, T2, K)."""
        config, layers = self.config, self.config.decoder_layers
        if not config.input_feeding:
            hs, _ = self.stack("decoder.lstm", layers, ("forward",), embedded, state)
            out = self.attend(hs, hs_enc, padding)
            return out if config.attentional_size is None else torch.tanh(out @ self["decoder.attentional.W"])
        out, outs = torch.zeros(len(embedded), 1, config.attentional_size, dtype=embedded.dtype), []
        for t in range(embedded.shape[1]):
            inputs = torch.cat((embedded[:, t : t + 1], out), dim=2)
            hs, state = self.stack("decoder.lstm", layers, ("forward",), inputs, state)
            out = torch.tanh(self.attend(hs, hs_enc, padding) @ self["decoder.attentional.W"])
            outs.append(out)
        return torch.cat(outs, dim=1)

    def loss(self, x, t, source_lengths, target_lengths):
        config = self.config
        padding = torch.arange(T1) >= source_lengths[:, None]
        hs_enc, h, c = self.encode(x, source_lengths)
        E = self["encoder.embedding.W" if config.share_embeddings else "decoder.embedding.W"]
        out = self.decode(E[t[:, :-1]], self.first_state(h, c), hs_enc, padding)
        if "decoder.projection.W" in self.weights:
            out = out @ self["decoder.projection.W"]
        scores = out @ (E.T if config.tie_embeddings else self["decoder.affine.W"]) + self["decoder.affine.b"]
        targets = t[:, 1:].clone()
        targets[torch.arange(T2 - 1) >= target_lengths[:, None] - 1] = -100
        return torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=-100, label_smoothing=config.label_smoothing
        )


def check(choices, lengths, dtype, rng):
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    model = moved(make_model(choices, dtype=dtype), rng)
    x, t = make_batch(rng, model)
    loss = model.forward(x, t, **lengths)
    model.backward()

    twin = TorchModel(model)
    given = (torch.tensor(lengths.get(f"{side}_lengths", [T] * N)) for side, T in (("source", T1), ("target", T2)))
    twin_loss = twin.loss(torch.from_numpy(x), torch.from_numpy(t), *given)
    twin_loss.backward()

    assert loss == pytest.approx(twin_loss.item(), rel=tolerance)
    for (name, weight), grad in zip(twin.weights.items(), model.grads, strict=True):
        expected = weight.grad.numpy()
        assert np.linalg.norm(grad - expected) <= tolerance * np.linalg.norm(expected), name
        assert np.any(expected), name


dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@dtypes
@lengths
@members(STEADY)
def test_loss_and_gradients(kernel_set, choices, lengths, dtype, rng):
    check(choices, lengths, dtype, rng)


@dtypes
@pytest.mark.parametrize("lengths", [WHOLE, PADDED], ids=["whole", "padded"])
def test_the_plain_model_on_each_way_that_it_takes(backend, lengths, dtype, rng):
    check({}, lengths, dtype, rng)
