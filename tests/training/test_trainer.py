"""The trainer on small real models, and on models made to fail."""

import math
import signal

import numpy as np
import pytest

import fastattn
from fastattn.data import Vocabulary, encode_pairs
from fastattn.training import SGD, Adam, DivergedError, Trainer, TrainingWarning, Translator, linear

V, D, H = 11, 5, 7
N, T1, T2 = 13, 6, 4
START, END = 1, 2


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


def make_model(**keywords):
    return fastattn.AttentionSeq2seq(V, D, H, seed=3, **keywords)


@pytest.fixture
def data(rng):
    x = rng.integers(4, V, (N, T1))
    t = rng.integers(4, V, (N, T2))
    t[:, 0] = START
    return x, t


@pytest.fixture
def padded(data, rng):
    return (*data, {"source_lengths": rng.integers(1, T1 + 1, N), "target_lengths": rng.integers(2, T2 + 1, N)})


def weights(model):
    return [p.copy() for p in model.params]


def same(a, b):
    return all((p == q).all() for p, q in zip(a, b, strict=True))


class Broken:
    """A model whose loss, or whose gradient, is what it is told at each step."""

    def __init__(self, losses, gradients=None):
        self.params, self.grads = [np.zeros(2)], [np.zeros(2)]
        self.losses = iter(losses)
        self.gradients = iter(gradients or [1.0] * len(losses))

    def forward(self, x, t):
        return next(self.losses)

    def backward(self):
        self.grads[0][...] = next(self.gradients)


def test_the_loss_falls_until_the_pairs_are_learnt(padded, backend):
    x, t, lengths = padded
    model = make_model()
    records = Trainer(model, Adam(0.02)).fit(x, t, 60, 4, 5.0, seed=0, **lengths, validation_data=(x, t))
    assert [record.epoch for record in records] == list(range(1, 61))
    assert records[0].loss > 2
    assert records[-1].loss < 0.05
    assert model.training


def test_an_epoch_is_its_batches_by_hand(padded):
    """Shuffled batches, cut to their longest members: the same weights as from steps written out here."""
    from fastattn.data import batches
    from fastattn.training import clip_grads

    x, t, lengths = padded
    model, by_hand = make_model(), make_model()
    Trainer(model, SGD(0.5)).fit(x, t, 1, 4, 0.1, seed=5, **lengths)
    optimizer = SGD(0.5)
    source_lengths, target_lengths = lengths.values()
    for chosen in batches(source_lengths, target_lengths, 4, np.random.default_rng((5, 1))):
        s, u = source_lengths[chosen], target_lengths[chosen]
        by_hand.forward(x[chosen, : s.max()], t[chosen, : u.max()], source_lengths=s, target_lengths=u)
        by_hand.backward()
        clip_grads(by_hand.grads, 0.1)
        optimizer.update(by_hand.params, by_hand.grads)
    assert same(model.params, by_hand.params)


def test_the_seed_decides_the_order(padded):
    x, t, lengths = padded

    def trained(seed):
        model = make_model()
        Trainer(model, SGD(0.5)).fit(x, t, 2, 4, seed=seed, **lengths)
        return weights(model)

    assert same(trained(1), trained(1))
    assert not same(trained(1), trained(2))
    assert not same(trained(None), trained(None))


def test_fits_of_one_epoch_add_up_to_a_fit_of_three(padded):
    x, t, lengths = padded
    model, other = make_model(), make_model()
    trainer, once = Trainer(model, Adam()), Trainer(other, Adam())
    for _ in range(3):
        trainer.fit(x, t, 1, 4, seed=1, eval_interval=3, **lengths)
    once.fit(x, t, 3, 4, seed=1, eval_interval=3, **lengths)
    assert same(model.params, other.params)
    assert trainer.loss_list == once.loss_list
    assert (trainer.epoch, trainer.step) == (once.epoch, once.step) == (3, 12)


def test_loss_list_holds_the_means_of_some_steps():
    x = np.ones((10, 3), int)
    trainer = Trainer(Broken([1.0, 2.0, 3.0, 4.0, 5.0] * 2), SGD())
    trainer.fit(x, x, 2, 2, eval_interval=2)
    assert trainer.loss_list == [1.5, 3.5, 5.0] * 2


def test_the_loss_of_an_epoch_is_that_of_a_token_not_of_a_batch():
    """Steps of four, four and one sample; the last is a third as heavy for being small."""
    x = np.ones((9, 3), int)
    (record,) = Trainer(Broken([1.0, 1.0, 1.0]), SGD()).fit(x, x, 1, 4)
    assert record.loss == 1.0
    model = Broken([])
    sizes = []
    model.forward = lambda x, t: sizes.append(len(x)) or float(len(x))
    model.backward = lambda: None
    (record,) = Trainer(model, SGD()).fit(x, x, 1, 4)
    assert sorted(sizes) == [1, 4, 4]
    assert record.loss == pytest.approx((4 * 4 + 4 * 4 + 1 * 1) / 9)


def test_callbacks_get_each_epochs_record_in_turn(padded):
    x, t, lengths = padded
    seen = []
    trainer = Trainer(make_model(), SGD())
    records = trainer.fit(x, t, 2, 4, **lengths, callbacks=[lambda r: seen.append(("a", r)), lambda r: seen.append(r)])
    assert seen == [("a", records[0]), records[0], ("a", records[1]), records[1]]
    tokens = lengths["source_lengths"].sum() + (lengths["target_lengths"] - 1).sum()
    assert all(r.tokens_per_second == pytest.approx(tokens / r.seconds) for r in records)
    assert all(r.valid_loss is None and r.valid_exact_match is None for r in records)


def test_validation_is_the_models_own_loss_and_its_own_answers(data, padded):
    x, t, lengths = padded
    model = make_model(dropout=0.5)
    seen = {}

    def check(record):
        model.eval()
        seen["loss"] = model.forward(x, t, **lengths)
        model.train()
        ids = model.generate(x, START, T2 - 1, lengths=lengths["source_lengths"])
        right = [(row[: n - 1] == target[1:n]).all() for row, target, n in zip(ids, t, lengths["target_lengths"], strict=True)]
        seen["exact"] = np.mean(right)

    held_out = (x, lengths["source_lengths"], t, lengths["target_lengths"])
    trainer = Trainer(model, Adam(0.02))
    for _ in range(4):
        (record,) = trainer.fit(*data, 20, 3, seed=1, **lengths, validation_data=held_out, callbacks=[check])[-1:]
        assert record.valid_loss == pytest.approx(seen["loss"], rel=1e-6)
        assert record.valid_exact_match == seen["exact"]
    assert record.valid_exact_match > 0


def test_exact_match_of_ids_is_exact_match_of_texts():
    pairs = [(a + b, b + a) for a in "abcd" for b in "efg"]
    source, target = (Vocabulary.from_texts(texts) for texts in zip(*pairs, strict=True))
    model = fastattn.AttentionSeq2seq(len(source), 8, 16, target_vocabulary=len(target), seed=0)
    x, source_lengths, t, target_lengths = encoded = encode_pairs(pairs, source, target)
    records = Trainer(model, Adam(0.02)).fit(
        x, t, 7, 3, seed=0, source_lengths=source_lengths, target_lengths=target_lengths, validation_data=encoded
    )
    translator = Translator(model, source, target, reverse_source=False, max_target_tokens=6)
    answers = translator.translate([s for s, _ in pairs])
    right = sum(answer == t for answer, (_, t) in zip(answers, pairs, strict=True))
    assert 0 < right < len(pairs)
    assert records[-1].valid_exact_match == right / len(pairs)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_update(bad):
    model = Broken([1.0, 1.0, 1.0, 1.0, bad])
    x = np.ones((6, 3), int)
    trainer = Trainer(model, SGD(1.0))
    with pytest.raises(DivergedError, match=f"the loss is {bad} at epoch 2, step 2 of 3"):
        trainer.fit(x, x, 5, 2)
    assert model.params[0].tolist() == [-4.0, -4.0]
    assert trainer.step == 4


def test_a_gradient_that_is_no_number_stops_before_the_update():
    model = Broken([1.0] * 3, [1.0, math.inf, 1.0])
    x = np.ones((6, 3), int)
    with pytest.raises(DivergedError, match="the norm of the gradients is inf at epoch 1, step 2 of 3"):
        Trainer(model, SGD(1.0)).fit(x, x, 1, 2, max_grad=5.0)
    assert np.isfinite(model.params[0]).all()


def test_a_gradient_that_is_no_number_changes_no_weight_without_clipping_either():
    model = Broken([1.0] * 3, [1.0, math.nan, 1.0])
    x = np.ones((6, 3), int)
    with pytest.raises(DivergedError, match=r"nan at epoch 1, step 2 of 3, first in that of params\[0\]; a lower"):
        Trainer(model, SGD(1.0)).fit(x, x, 1, 2)
    assert model.params[0].tolist() == [-1.0, -1.0]


def test_steps_that_are_no_numbers_are_skipped_if_that_is_asked():
    x = np.ones((12, 3), int)
    # The second step has no loss, the third no gradient: a step without a loss has no backward.
    model = Broken([1.0, math.nan, 1.0, 1.0, 1.0, 1.0], [1.0, math.inf, 1.0, 1.0, 1.0])
    trainer, told = Trainer(model, SGD(1.0)), []
    with pytest.warns(TrainingWarning) as warned:
        records = trainer.fit(x, x, 1, 2, skip_nonfinite=2, on_step=told.append, log_every=1)
    assert [str(each.message) for each in warned] == [
        "the loss is nan at epoch 1, step 2 of 6; a lower learning rate or max_grad may help; "
        "the step is skipped, 1 of at most 2",
        "the norm of the gradients is inf at epoch 1, step 3 of 6, first in that of params[0]; a lower learning rate may help; "
        "the step is skipped, 2 of at most 2",
    ]
    assert model.params[0].tolist() == [-4.0, -4.0]
    assert trainer.step == 6
    assert records[0].loss == 1.0
    assert [record.step for record in told] == [1, 4, 5, 6]
    assert trainer.loss_list == [1.0]


def test_a_step_of_several_batches_is_skipped_whole():
    x = np.ones((12, 3), int)
    model = Broken([1.0, 1.0, 1.0, math.nan, 1.0, 1.0], [1.0] * 5)
    with pytest.warns(TrainingWarning, match=r"the loss is nan at epoch 1, step 2 of 3"):
        Trainer(model, SGD(1.0)).fit(x, x, 1, 2, accumulate=2, skip_nonfinite=1)
    assert model.params[0].tolist() == [-2.0, -2.0]


def test_a_step_in_shards_is_skipped_whole():
    x = np.ones((6, 3), int)
    model = Broken([1.0, 1.0, math.nan, 1.0, 1.0, 1.0], [1.0] * 6)
    with pytest.warns(TrainingWarning, match=r"the loss is nan at epoch 1, step 2 of 3.*1 of at most 1"):
        records = Trainer(model, SGD(1.0)).fit(x, x, 1, 2, shards=2, skip_nonfinite=1)
    assert model.params[0].tolist() == [-2.0, -2.0]
    assert records[0].loss == 1.0
    model = Broken([1.0] * 6, [1.0, 1.0, 1.0, math.inf, 1.0, 1.0])
    with pytest.warns(TrainingWarning, match=r"the norm of the gradients is inf at epoch 1, step 2 of 3.*1 of at most 1"):
        Trainer(model, SGD(1.0)).fit(x, x, 1, 2, shards=2, skip_nonfinite=1)
    assert model.params[0].tolist() == [-2.0, -2.0]


def test_more_steps_than_may_be_skipped_end_the_fit():
    x = np.ones((6, 3), int)
    with pytest.warns(TrainingWarning), pytest.raises(DivergedError, match=r"step 3 of 3.*; 1 step had been skipped"):
        Trainer(Broken([1.0, math.nan, math.nan]), SGD()).fit(x, x, 2, 2, skip_nonfinite=1)
    with pytest.warns(TrainingWarning), pytest.raises(DivergedError, match="no step of epoch 1 had a loss and gradients that"):
        Trainer(Broken([math.nan] * 9), SGD()).fit(x, x, 2, 2, skip_nonfinite=9)
    with pytest.raises(ValueError, match="skip_nonfinite is -1; expected at least 0"):
        Trainer(Broken([1.0]), SGD()).fit(x, x, 2, 2, skip_nonfinite=-1)


def test_a_weight_that_became_infinite_ends_the_epoch(data):
    """The loss and the gradients were numbers, the step was too large."""
    model = make_model()
    expected = pytest.raises(DivergedError, match=r"encoder\.embedding\.W holds NaN or infinity after epoch 1, step 1 in all")
    with np.errstate(all="ignore"), expected:
        Trainer(model, SGD(1e45)).fit(*data, max_epoch=1, batch_size=100)


def test_the_parameter_is_named_where_it_begins(data):
    model = make_model()
    model.named_params()["decoder.affine.b"][3] = np.inf
    expected = pytest.raises(
        DivergedError, match=r"the loss is \S+ at epoch 1, step 1 of 1, and so is decoder\.affine\.b; a lo"
    )
    with np.errstate(all="ignore"), expected:
        Trainer(model, Adam()).fit(*data, batch_size=100)


def test_a_real_model_that_diverges_is_stopped(data):
    model = make_model()
    model.params[0][5] = np.nan
    before = weights(model)
    with pytest.raises(DivergedError, match="epoch 1, step 1 of 1"):
        Trainer(model, Adam()).fit(*data, batch_size=100)
    assert all(np.array_equal(p, b, equal_nan=True) for p, b in zip(model.params, before, strict=True))


def test_a_validation_loss_that_is_no_number_stops_too():
    x = np.ones((6, 3), int)
    with pytest.raises(DivergedError, match="the validation loss is nan after epoch 1, step 3 in all"):
        Trainer(Broken([1.0, 1.0, 1.0, math.nan]), SGD()).fit(x, x, 1, 2, validation_data=(x[:2], x[:2]))


def test_ctrl_c_within_an_update_takes_effect_after_it(data):
    class Interrupted(SGD):
        def _step(self, params, grads, *states):
            for p, g in zip(params, grads, strict=True):
                p -= self.lr * g
                signal.raise_signal(signal.SIGINT)

    model, whole = make_model(), make_model()
    trainer = Trainer(model, Interrupted(0.1))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*data, 1, batch_size=100, seed=1)
    assert trainer.step == 1
    Trainer(whole, SGD(0.1)).fit(*data, 1, batch_size=100, seed=1)
    assert same(model.params, whole.params)


def test_quiet_unless_told_or_on_a_terminal(data, capsys):
    Trainer(make_model(), SGD()).fit(*data, 2, 4)
    assert capsys.readouterr() == ("", "")
    Trainer(make_model(), SGD()).fit(*data, 2, 4, progress=False)
    assert capsys.readouterr() == ("", "")
    Trainer(make_model(), SGD()).fit(*data, 2, 4, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 2/2" in err
    assert "loss" in err
    assert "tokens/s" in err


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"max_epoch": 0}, ValueError, "max_epoch is 0; expected at least 1"),
        ({"max_epoch": 1.5}, TypeError, "max_epoch is 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; expected at least 1"),
        ({"eval_interval": -1}, ValueError, "eval_interval is -1; expected at least 1"),
        ({"max_grad": 0}, ValueError, "max_grad is 0; expected a number more than 0"),
        ({"max_grad": math.nan}, ValueError, "max_grad is nan"),
        ({"seed": -1}, ValueError, "seed is -1; expected at least 0"),
        ({"x": np.ones(3, int)}, ValueError, r"x and t have shapes \(3,\) and \(13, 4\)"),
        ({"x": np.ones((12, 3), int)}, ValueError, r"x and t have shapes \(12, 3\) and \(13, 4\)"),
        ({"x": np.ones((0, 3), int), "t": np.ones((0, 3), int)}, ValueError, "expected .* N >= 1"),
        ({"t": np.ones((13, 1), int)}, ValueError, "expected .* T2 >= 2"),
        ({"source_lengths": [3]}, ValueError, r"source_lengths has shape \(1,\); expected \(13,\)"),
        ({"source_lengths": [7] * 13}, ValueError, r"source_lengths\[0\] is 7; expected a length from 1 to 6"),
        ({"target_lengths": [1] * 13}, ValueError, r"target_lengths\[0\] is 1; expected a length from 2 to 4"),
        ({"source_lengths": [1.0] * 13}, TypeError, "source_lengths has dtype float64"),
        ({"validation_data": (1, 2, 3)}, ValueError, "validation_data holds 3 arrays"),
        ({"validation_data": (np.ones((2, 3), int), np.array([[1, 2], [3, 4]]))}, ValueError, r"begin with \[1 3\]"),
        ({"x": np.full((13, 6), V)}, IndexError, "expected a token id from 0 to 10"),
        ({"x": np.ones((13, 6))}, TypeError, "dtype float64"),
    ],
)
def test_bad_arguments_are_refused_before_anything_changes(change, error, message, data):
    model = make_model()
    before = weights(model)
    with pytest.raises(error, match=message):
        Trainer(model, SGD()).fit(**{"x": data[0], "t": data[1], **change})
    assert same(model.params, before)


class Recorder(SGD):
    """SGD that writes down the learning rate of each update."""

    def __init__(self, lr):
        super().__init__(lr)
        self.rates = []

    def update(self, params, grads, *, max_norm=None):
        self.rates.append(self.lr)
        return super().update(params, grads, max_norm=max_norm)


def test_a_schedule_multiplies_the_learning_rate_and_leaves_it_as_it_was():
    x = np.ones((6, 2), int)
    optimizer = Recorder(0.5)
    Trainer(Broken([1.0] * 6), optimizer).fit(x, x, 2, 2, schedule=linear)
    np.testing.assert_allclose(optimizer.rates, 0.5 * (1 - np.arange(6) / 6))
    assert optimizer.lr == 0.5
    optimizer.rates.clear()
    Trainer(Broken([1.0] * 3), optimizer).fit(x, x, 1, 2)
    assert optimizer.rates == [0.5] * 3
