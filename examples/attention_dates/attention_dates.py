# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attention, layer by layer
#
# A model that reads a date as people write it and says it as ISO 8601: an LSTM encoder, an LSTM decoder, and attention
# between the two. We build it from the inside out, then train it, and look where it looks.
#
# Each layer has `forward` and `backward`, and the lists `params` and `grads`. The letters: N samples, T1 source steps, T2
# target steps, V tokens, D the width of a token's vector, H the width of a state.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

from fastattn import Adam, Attention, AttentionLayer, AttentionSeq2seq, AttentionWeight, Decoder, Encoder, Trainer, WeightSum
from fastattn.data import END, START, Vocabulary, date_pairs, encode_pairs, split_pairs

PAIRS = int(os.environ.get("ATTENTION_DATES_PAIRS", "20000"))  # fewer for a quick look
EPOCHS = int(os.environ.get("ATTENTION_DATES_EPOCHS", "6"))

# %% [markdown]
# ## The context: a weighted sum
#
# The encoder leaves a state for each step of the source, `hs` (N, T1, H). When weights `a` (N, T1) say how much each step
# matters, the context `c` (N, H) is the sum of the states, each times its weight.

# %%
rng = np.random.default_rng(0)
N, T1, T2, H = 2, 5, 3, 4
hs = rng.standard_normal((N, T1, H))
hs /= np.linalg.norm(hs, axis=2, keepdims=True)
a = np.full((N, T1), 1 / T1)

weight_sum = WeightSum()
c = weight_sum.forward(hs, a)
print(c.shape, "the mean of the states:", np.allclose(c, hs.mean(axis=1)))

# %% [markdown]
# ## The weights: a softmax of dot products
#
# The decoder's state `h` (N, H) is compared with each state of the encoder by a dot product; the softmax makes weights of
# the results.

# %%
attention_weight = AttentionWeight()
h = 5 * hs[:, 3]  # a state that points where the source's step 3 does
a = attention_weight.forward(hs, h)
print(a.round(2))

# %% [markdown]
# `AttentionLayer` is the one after the other. Backward goes through both, and a difference shows that it is right: a small
# step along the gradient changes the sum of the context as much as the gradient says.

# %%
layer = AttentionLayer()
c = layer.forward(hs, h)
dhs, dh = layer.backward(np.ones_like(c))

step = 1e-6 * rng.standard_normal(h.shape)
change = (layer.forward(hs, h + step) - layer.forward(hs, h - step)).sum() / 2
print(f"by differences {change:.6e}, by backward {(dh * step).sum():.6e}")

# %% [markdown]
# `Attention` does it for all steps of the target at once: `hs_dec` (N, T2, H) -> contexts (N, T2, H).

# %%
attention = Attention()
hs_dec = rng.standard_normal((N, T2, H))
cs = attention.forward(hs, hs_dec)
print(cs.shape, attention.attention_weight.shape)  # the weights are (T2, N, T1)
print("the same:", np.allclose(cs[:, 1], layer.forward(hs, hs_dec[:, 1])))

# %% [markdown]
# ## The data
#
# Dates in many forms, and the one form that is to come out. The symbols become ids; short texts are padded to the longest,
# and `lengths` says how long each is. What stands at padding is never read.

# %%
train, held_out = split_pairs(date_pairs(PAIRS, seed=0), valid_fraction=0.1, seed=0)
for source, target in train[:6]:
    print(f"{source:>32}  {target}")

source_vocabulary = Vocabulary.from_texts(source for source, _ in train)
target_vocabulary = Vocabulary.from_texts(target for _, target in train)
x, source_lengths, t, target_lengths = encode_pairs(train, source_vocabulary, target_vocabulary)
print("x", x.shape, "t", t.shape, "V", len(source_vocabulary), len(target_vocabulary))

# %% [markdown]
# ## Encoder and decoder
#
# The encoder turns ids into vectors and runs an LSTM over them. The decoder starts from the encoder's last state. It is
# given the target up to each step, attends to the source, and scores the next token from (context, state): that is why its
# affine map has 2H rows.

# %%
D, H = 16, 128
encoder, decoder = Encoder(len(source_vocabulary), D, H, seed=1), Decoder(len(target_vocabulary), D, H, seed=2)

few = slice(0, 3)
hs = encoder.forward(x[few], lengths=source_lengths[few])
scores = decoder.forward(t[few, :-1], hs, lengths=target_lengths[few] - 1, source_lengths=source_lengths[few])
print("states", hs.shape, "scores", scores.shape, "affine", decoder.affine.params[0].shape)

# %% [markdown]
# ## The model
#
# `AttentionSeq2seq` joins the two with the loss, the mean of -log(probability) over the target's tokens. At first it knows
# nothing: the loss is about log V.

# %%
model = AttentionSeq2seq(len(source_vocabulary), D, H, target_vocabulary=len(target_vocabulary), seed=0)
loss = model.forward(x[few], t[few], source_lengths=source_lengths[few], target_lengths=target_lengths[few])
print(f"loss {loss:.2f}, log V {np.log(len(target_vocabulary)):.2f}")

# %% [markdown]
# ## Training
#
# Adam, with the gradients scaled down where their norm is above 5. After each epoch, greedy search answers the dates that
# were held out.

# %%
trainer = Trainer(model, Adam(0.004))
records = trainer.fit(
    x,
    t,
    max_epoch=EPOCHS,
    batch_size=64,
    max_grad=5.0,
    source_lengths=source_lengths,
    target_lengths=target_lengths,
    validation_data=encode_pairs(held_out, source_vocabulary, target_vocabulary),
    callbacks=[lambda r: print(f"epoch {r.epoch}: loss {r.loss:.4f}, held-out dates right {r.valid_exact_match:.1%}")],
    seed=0,
    progress=False,
)

# %%
plt.figure(figsize=(6, 3), layout="constrained")
plt.semilogy(trainer.loss_list)
plt.xlabel("steps (x20)")
plt.ylabel("loss")
plt.show()

# %% [markdown]
# ## What it says
#
# `generate` starts from the start symbol and takes the best token at each step, up to the end symbol.


# %%
def translate(text):
    """text -> (the answer, its token ids (T2,), the weights (T2, T1))."""
    ids, weights = model.generate([source_vocabulary.encode(text)], START, t.shape[1], end_id=END, return_attention=True)
    ids = ids[0, : 1 + ids[0].tolist().index(END)] if END in ids[0] else ids[0]
    return target_vocabulary.decode(ids), ids, weights[0, : len(ids)]


model.eval()
for source, target in held_out[:8]:
    answer, *_ = translate(source)
    print(f"{source:>32}  {answer}  {'right' if answer == target else 'wrong, it is ' + target}")

# %% [markdown]
# ## Where it looks
#
# A row for each symbol of the answer, a column for each of the source: the darker, the more weight. The year's digits look
# at the year, the month's at the month's name, the day's at the day.

# %%
source = "the 21st of june, 1999"
answer, ids, weights = translate(source)
print(answer)

plt.figure(figsize=(6.5, 3.6), layout="constrained")
plt.imshow(weights, cmap="Greys", vmin=0, aspect="auto")
plt.xticks(range(len(source)), source.replace(" ", "␣"))
plt.yticks(range(len(ids)), ["end" if token == END else target_vocabulary.decode([token]) for token in ids])
plt.xlabel("source")
plt.ylabel("answer")
plt.colorbar(label="attention")
plt.show()
