"""The options of `Trainer.fit`, each against what it says, and together."""

import functools
import math

import numpy as np
import pytest
from helpers import skip_without_compiled_kernels

import fastattn
from fastattn.data import Vocabulary, encode_pairs, token_batches
from fastattn.training import (
    SGD,
    Adam,
    Cosine,
    InverseSqrt,
    Linear,
    Plateau,
    Trainer,
    TrainingWarning,
    Translator,
    clip_grads,
    linear,
    score,
    trainer,
)
from fastattn.training.samples import Samples
from fastattn.training.stopping import Clock

V, D, H = 11, 5, 7
N, T1, T2 = 13, 6, 4
START, END = 1, 2
ONES = np.ones((6, 3), int)


@pytest.fixture(autouse=True)
def _reference():
    with fastattn.use_backend("reference"):
        yield


def make_model(**keywords):
    return fastattn.AttentionSeq2seq(V, D, H, seed=3, **keywords)


@pytest.fixture
def padded(rng):
    x = rng.integers(4, V, (N, T1))
    t = rng.integers(4, V, (N, T2))
    t[:, 0] = START
    return x, t, {"source_lengths": rng.integers(1, T1 + 1, N), "target_lengths": rng.integers(2, T2 + 1, N)}


def same(a, b):
    return all((p == q).all() for p, q in zip(a, b, strict=True))


class Scripted:
    """A model of one weight, which each step makes 1 lower (by SGD(1.0)), with the validation losses that it is told.

    ``seen``: the weight at each loss of the validation.
    """

    def __init__(self, validation_losses):
        self.params, self.grads = [np.zeros(1)], [np.ones(1)]
        self.validation_losses = iter(validation_losses)
        self.seen = []
        self.training = True

    def train(self):
        self.training = True

    def eval(self):
        self.training = False

    def forward(self, x, t):
        if self.training:
            return 1.0
        self.seen.append(float(self.params[0][0]))
        return next(self.validation_losses)

    def backward(self):
        pass


LOSSES = [5.0, 3.0, 4.0, 3.0, 2.5, 6.0]


def scripted(losses=LOSSES, **options):
    """A fit of an epoch a loss, each of one step."""
    model = Scripted(losses)
    trained = Trainer(model, SGD(1.0))
    options = {"max_epoch": len(LOSSES), "batch_size": 6, "validation_data": (ONES, ONES), "metric": "loss"} | options
    return model, trained, trained.fit(ONES, ONES, **options)


def test_without_options_the_last_weights_are_kept():
    model, trained, records = scripted()
    assert model.params[0].tolist() == [-6.0]
    assert [record.best for record in records] == [True, True, False, False, True, False]
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.learning_rate for record in records] == [1.0] * 6
    assert trained.outcome.epochs == (6,)
    assert trained.outcome.valid_loss == 6.0
    assert str(trained.outcome) == "epoch 6 was kept, the last; all 6 epochs were made"


def test_the_best_epoch_is_kept():
    model, trained, records = scripted(keep="best")
    assert model.params[0].tolist() == [-5.0]
    assert len(records) == 6
    assert trained.outcome.epochs == (5,)
    assert trained.outcome.valid_loss == 2.5
    assert str(trained.outcome) == "epoch 5 was kept, the best: validation loss 2.5000; all 6 epochs were made"


@pytest.mark.parametrize(("keep", "weight"), [("last", -4.0), ("best", -2.0)])
def test_patience_ends_the_training(keep, weight):
    model, trained, records = scripted(patience=2, keep=keep)
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert model.params[0].tolist() == [weight]
    assert str(trained.outcome).endswith("; no better validation loss for 2 epochs, up to epoch 4")


@pytest.mark.parametrize(
    ("average", "count", "epochs", "weight", "why"),
    [("last", 3, (4, 5, 6), -5.0, "the last"), ("best", 2, (2, 5), -3.5, "the best by validation loss")],
)
def test_the_mean_of_some_epochs_is_kept_and_validated(average, count, epochs, weight, why):
    model, trained, _ = scripted([*LOSSES, 1.75], average=average, average_count=count)
    assert model.params[0].tolist() == [weight]
    assert model.seen[-1] == weight
    assert trained.outcome.epochs == epochs
    assert trained.outcome.valid_loss == 1.75
    assert trained.outcome.kept == f"the mean of the weights of epochs {', '.join(map(str, epochs))} was kept, {why}"


def test_an_average_of_the_last_needs_no_validation():
    model, trained, _ = scripted(validation_data=None, average="last", average_count=2)
    assert model.params[0].tolist() == [-5.5]
    assert trained.outcome.valid_loss is None


@pytest.mark.parametrize(("keep", "epoch"), [("last", 6), ("best", 5)])
def test_the_moving_average_is_validated_and_kept_and_training_goes_on_without_it(keep, epoch):
    model, trained, _ = scripted(keep=keep, ema=0.5)

    def mean(k):
        factors = 0.5 ** np.arange(k - 1, -1, -1)
        return -(factors * np.arange(1, k + 1)).sum() / factors.sum()

    assert model.seen == pytest.approx([mean(k) for k in range(1, 7)])
    assert model.params[0][0] == pytest.approx(mean(epoch))
    assert trained.outcome.epochs == (epoch,)
    assert trained.outcome.kept.startswith(f"the moving average of the weights up to epoch {epoch} was kept")


def test_callbacks_find_the_weights_that_were_validated():
    model = Scripted(LOSSES)
    found = []
    callbacks = [lambda record: found.append(float(model.params[0][0]))]
    Trainer(model, SGD(1.0)).fit(ONES, ONES, 3, 6, validation_data=(ONES, ONES), ema=0.9, callbacks=callbacks)
    assert found == model.seen


def test_batches_by_tokens_are_steps_by_hand(padded):
    x, t, lengths = padded
    model, by_hand = make_model(), make_model()
    Trainer(model, SGD(0.5)).fit(x, t, 2, max_grad=0.1, seed=5, batch_tokens=25, **lengths)
    optimizer = SGD(0.5)
    source_lengths, target_lengths = lengths.values()
    steps = 0
    for epoch in (1, 2):
        for chosen in token_batches(source_lengths, target_lengths, 25, np.random.default_rng((5, epoch))):
            s, u = source_lengths[chosen], target_lengths[chosen]
            assert len(chosen) * (s.max() + u.max()) <= 25
            by_hand.forward(x[chosen, : s.max()], t[chosen, : u.max()], source_lengths=s, target_lengths=u)
            by_hand.backward()
            clip_grads(by_hand.grads, 0.1)
            optimizer.update(by_hand.params, by_hand.grads)
            steps += 1
    assert steps > 8
    assert same(model.params, by_hand.params)


def test_accumulated_batches_are_one_large_batch(padded):
    """Dropout's masks with it."""
    from fastattn.data import batches

    x, t, lengths = padded
    options = {"dtype": "float64", "dropout": 0.4, "recurrent_dropout": 0.2, "word_dropout": 0.2, "label_smoothing": 0.1}
    model, by_hand = make_model(**options), make_model(**options)
    records = []
    trained = Trainer(model, SGD(0.5))
    trained.fit(x, t, 2, 3, 0.5, seed=5, accumulate=2, on_step=records.append, log_every=1, **lengths)
    optimizer = SGD(0.5)
    source_lengths, target_lengths = lengths.values()
    expected = []
    for epoch in (1, 2):
        order = batches(source_lengths, target_lengths, 3, np.random.default_rng((5, epoch)))
        assert len(order) == 5
        for chosen in (np.concatenate(order[0:2]), np.concatenate(order[2:4]), order[4]):
            s, u = source_lengths[chosen], target_lengths[chosen]
            loss = by_hand.forward(x[chosen, : s.max()], t[chosen, : u.max()], source_lengths=s, target_lengths=u)
            by_hand.backward()
            expected.append((loss, optimizer.update(by_hand.params, by_hand.grads, max_norm=0.5)))
    for param, other in zip(model.params, by_hand.params, strict=True):
        np.testing.assert_allclose(param, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([(r.loss, r.gradient_norm) for r in records], expected, rtol=1e-9)
    assert (model.step, model.first_sample, trained.step) == (6, 0, 6)


def test_validation_tells_the_token_error_rate():
    """The same figure as of texts, with answers of every length."""
    pairs = [(a + b * n, (b + a) * n) for a in "abcd" for b in "efg" for n in (1, 2, 3)]
    source, target = (Vocabulary.from_texts(texts) for texts in zip(*pairs, strict=True))
    model = fastattn.AttentionSeq2seq(len(source), 8, 16, target_vocabulary=len(target), seed=0)
    x, source_lengths, t, target_lengths = encoded = encode_pairs(pairs, source, target)
    lengths = {"source_lengths": source_lengths, "target_lengths": target_lengths}
    trained = Trainer(model, Adam(0.02))
    translator = Translator(model, source, target, reverse_source=False, max_target_tokens=7)
    rates = []
    for _ in range(4):
        (record,) = trained.fit(x, t, 1, 5, seed=0, **lengths, validation_data=encoded)
        answers = translator.translate([s for s, _ in pairs])
        figures = score([list(answer) for answer in answers], [list(t) for _, t in pairs])
        assert record.valid_token_error_rate == figures.token_error_rate
        assert record.valid_exact_match == figures.exact_match
        rates.append(record.valid_token_error_rate)
    assert 0 < rates[-1] < rates[0]


@pytest.mark.parametrize(
    ("targets", "lengths", "end"),
    [
        ([[1, 5, 2, 0], [1, 6, 7, 2]], [3, 4], 2),
        ([[1, 5, 2, 2], [1, 6, 7, 2]], [3, 4], 2),  # what stands at padding does not count
        ([[1, 5, 2], [1, 6, 2]], None, 2),
        ([[1, 5, 2], [1, 6, 3]], None, None),
        ([[1, 2, 2], [1, 6, 2]], None, None),  # it stands inside, too
        ([[1, 2], [1, 2]], None, None),  # there would be no other token
    ],
)
def test_the_end_symbol_is_what_all_targets_end_with(targets, lengths, end):
    assert Samples.checked(np.ones((2, 3), int), targets, None, lengths).end_id == end


def test_without_an_end_symbol_an_answer_is_as_long_as_its_target():
    class Answering:
        def generate(self, x, start_id, sample_size, lengths=None):
            assert (start_id, sample_size) == (1, 3)
            return np.array([[5, 6, 9], [7, 9, 9]])

    samples = Samples.checked(np.ones((2, 3), int), [[1, 5, 6, 0], [1, 7, 8, 9]], None, [3, 4])
    compared = samples.compare_answers(Answering(), None, 3)
    assert (compared.exact_matches, compared.target_tokens, compared.token_errors) == (1, 5, 1)


class Recorder(SGD):
    """SGD that writes down the learning rate of each update."""

    def __init__(self, lr):
        super().__init__(lr)
        self.rates = []

    def update(self, params, grads, *, max_norm=None):
        self.rates.append(self.lr)
        return super().update(params, grads, max_norm=max_norm)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Linear(warmup_steps=2, hold=0.5), [0.5, 1, 1, 1, 2 / 3, 1 / 3]),
        (InverseSqrt(warmup_steps=3), [1 / 3, 2 / 3, 1, (3 / 4) ** 0.5, (3 / 5) ** 0.5, (3 / 6) ** 0.5]),
        (Cosine(), [0.5 + 0.5 * math.cos(math.pi * step / 6) for step in range(6)]),
        # Losses of 5, 3, 4, 3, ...: after the fourth epoch two were no better than 3.
        (Plateau(patience=2), [1, 1, 1, 1, 0.5, 0.5]),
        ("linear", [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (lambda done: done.step + done.seconds * 0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_schedule_knows_steps_and_validations(schedule, factors):
    optimizer = Recorder(0.5)
    Trainer(Scripted(LOSSES), optimizer).fit(ONES, ONES, 6, 6, schedule=schedule, validation_data=(ONES, ONES), metric="loss")
    np.testing.assert_allclose(optimizer.rates, 0.5 * np.array(factors))
    assert optimizer.lr == 0.5


class Wrong(Scripted):
    """Answers, and never rightly."""

    def generate(self, x, start_id, sample_size, lengths=None):
        return np.full((len(x), sample_size), 7)


def test_a_plateau_of_a_model_that_gets_nothing_right_yet_goes_by_the_loss():
    optimizer = Recorder(0.5)
    trained = Trainer(Wrong(LOSSES), optimizer)
    records = trained.fit(ONES, ONES, 6, 6, schedule="plateau", validation_data=(ONES, ONES))
    assert {record.valid_exact_match for record in records} == {0.0}
    assert optimizer.rates == [0.5, 0.5, 0.5, 0.25, 0.125, 0.125]  # the losses 4 and the second 3 were no better


class Timed(Scripted):
    """A step takes a second, a validation three, by a clock of its own."""

    def __init__(self):
        super().__init__([1.0] * 99)
        self.time = 0.0

    def forward(self, x, t):
        self.time += 1 if self.training else 3
        return super().forward(x, t)


@pytest.mark.parametrize(("average", "reserve"), [("none", 3), ("last", 6)])
def test_the_time_is_kept_with_the_last_validation_and_the_schedule_knows(monkeypatch, average, reserve):
    model, optimizer = Timed(), Recorder(1.0)
    monkeypatch.setattr(trainer, "Clock", functools.partial(Clock, now=lambda: model.time))
    trained = Trainer(model, optimizer)
    records = trained.fit(
        ONES, ONES, 99, 1, max_minutes=0.5, schedule=linear, validation_data=(ONES[:1], ONES[:1]), average=average
    )
    assert model.time <= 30
    assert model.time > 26
    assert [record.epoch for record in records] == [1, 2, 3]
    assert 0 < records[-1].step - records[-2].step <= 6
    steps = len(optimizer.rates)
    # In the first epoch nothing is known of the validation's time, then it is taken off.
    expected = [1 - second / 30 for second in range(6)]
    expected += [1 - (second + 3 + 3 * ((second - 6) // 6)) / (30 - reserve) for second in range(6, steps)]
    np.testing.assert_allclose(optimizer.rates, expected, atol=1e-12)
    assert optimizer.rates[-1] < 0.15
    assert trained.outcome.ended == "the time, 0.5 minutes, was up in epoch 3"


def test_a_time_too_short_for_anything_is_enough_for_a_step():
    model = Scripted([1.0])
    records = Trainer(model, SGD(1.0)).fit(ONES, ONES, 99, 2, max_minutes=1e-9)
    assert [record.step for record in records] == [1]


def test_steps_tell_of_themselves(padded):
    x, t, lengths = padded
    seen, told = [], []
    model, same_model = make_model(), make_model()
    trained = Trainer(model, Adam(0.01))
    trained.fit(x, t, 2, 4, seed=1, on_step=seen.append, log_every=3, schedule=linear, eval_interval=1, **lengths)
    assert [(record.epoch, record.step) for record in seen] == [(1, 3), (2, 6)]
    assert [record.learning_rate for record in seen] == pytest.approx([0.01 * 6 / 8, 0.01 * 3 / 8])
    assert all(record.tokens_per_second > 0 for record in seen)
    assert seen[0].seconds_left > seen[1].seconds_left > 0
    Trainer(same_model, Adam(0.01)).fit(x, t, 2, 4, 1e9, seed=1, on_step=told.append, log_every=1, schedule=linear, **lengths)
    assert same(model.params, same_model.params)  # a norm that nobody clips by is worked out for the record
    assert [record.gradient_norm for record in told][2::3] == [record.gradient_norm for record in seen]
    assert [record.loss for record in told] == trained.loss_list
    assert min(trained.loss_list[:3]) < seen[0].loss < max(trained.loss_list[:3])
    assert told[-1].seconds_left == 0


def test_the_bar_shows_rate_and_time_left(padded, capsys):
    x, t, _ = padded
    Trainer(make_model(), SGD(0.25)).fit(x, t, 2, 4, progress=True)
    err = capsys.readouterr().err
    assert "lr 2.5e-01" in err
    assert "00:00 left" in err


def test_a_loss_that_stays_far_above_where_it_began_is_warned_of(padded):
    x, t, lengths = padded
    with pytest.warns(
        TrainingWarning, match="the loss of epoch 1 is .*, far above the 2.* of the first step; a lower"
    ) as caught:
        records = Trainer(make_model(), Adam(50)).fit(x, t, 3, 4, seed=0, **lengths)
    assert records[-1].loss > 100
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_an_unknown_argument_is_answered_with_the_one_that_is_meant():
    trained = Trainer(Scripted([]), SGD())
    with pytest.raises(TypeError, match="fit has no argument 'epochs'; expected max_epoch"):
        trained.fit(ONES, ONES, epochs=3)
    with pytest.raises(TypeError, match="fit has no argument 'wormhole'; expected x, t, max_epoch, "):
        trained.fit(ONES, ONES, wormhole=3)


@pytest.mark.parametrize("optimizer", ["adam", None, Adam])
def test_what_is_no_optimizer_is_refused(optimizer):
    with pytest.raises(TypeError, match=r"optimizer is .*; expected an optimizer such as Adam\(0.001\)"):
        Trainer(make_model(), optimizer)


@pytest.mark.parametrize("model", ["model", fastattn.AttentionSeq2seq, None])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(TypeError, match=r"model is .*; expected a model, with params, grads, forward and backward"):
        Trainer(model, SGD())


VALID = {"validation_data": (ONES, ONES)}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_tokens": 0}, ValueError, "batch_tokens is 0; expected at least 1"),
        ({"batch_tokens": 5}, ValueError, r"batch_tokens is 5, but sample 0 has 3 \+ 3 tokens; expected at least 6"),
        ({"accumulate": 0}, ValueError, "accumulate is 0; expected at least 1"),
        ({"schedule": "line"}, ValueError, "schedule is 'line'; expected one of constant, linear"),
        ({"schedule": Linear}, TypeError, "schedule is .*; expected one of constant, linear"),
        ({"schedule": 0.5}, TypeError, "schedule is 0.5; expected one of constant, .* or a function of the part done"),
        ({"schedule": Plateau()}, ValueError, "the schedule goes by the exact match, but there is no validation_data"),
        ({"patience": 3}, ValueError, "patience goes by the exact match, but there is no validation_data"),
        ({"patience": 0, "metric": "loss", **VALID}, ValueError, "patience is 0; expected at least 1"),
        ({"keep": "first"}, ValueError, "keep is 'first'; expected one of last, best"),
        ({"keep": "best"}, ValueError, 'keep="best" goes by the exact match, but there is no validation_data'),
        ({"keep": "best", **VALID}, ValueError, 'the model cannot generate; expected metric="loss"'),
        ({"metric": "wer"}, ValueError, "metric is 'wer'; expected one of exact_match, token_error_rate, loss"),
        ({"average": "first"}, ValueError, "average is 'first'; expected one of none, last, best"),
        ({"average": "best"}, ValueError, 'average="best" goes by the exact match, but there is no validation_data'),
        ({"average": "last", "average_count": 0}, ValueError, "average_count is 0; expected at least 1"),
        ({"average": "last", "ema": 0.9}, ValueError, "average is 'last' and ema is 0.9; expected one of them"),
        ({"average": "last", "keep": "best"}, ValueError, """average is 'last' and keep is "best"; expected one of them"""),
        ({"ema": 1}, ValueError, "ema is 1; expected a number at least 0 and less than 1"),
        ({"max_minutes": 0}, ValueError, "max_minutes is 0; expected a number more than 0"),
        ({"log_every": 0}, ValueError, "log_every is 0; expected at least 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(options, error, message):
    model = Scripted([])
    trained = Trainer(model, SGD(1.0))
    with pytest.raises(error, match=message):
        trained.fit(ONES, ONES, **options)
    assert model.params[0].tolist() == [0.0]
    assert trained.epoch == 0


TOGETHER = {
    "tokens": {"batch_tokens": 40},
    "accumulate": {"accumulate": 3},
    "constant": {"schedule": "constant"},
    "linear": {"schedule": Linear(warmup_steps=4, hold=0.3)},
    "inverse_sqrt": {"schedule": InverseSqrt(warmup_steps=20)},
    "cosine": {"schedule": Cosine(warmup_steps=4)},
    "plateau": {"schedule": Plateau(), "metric": "loss"},
    "patience": {"patience": 20, "metric": "token_error_rate"},
    "best": {"keep": "best", "metric": "loss"},
    "average last": {"average": "last", "average_count": 2},
    "average best": {"average": "best", "metric": "token_error_rate"},
    "ema": {"ema": 0.8},
    "time": {"max_minutes": 10},
    "tokens, accumulate, cosine, ema, best": {
        "batch_tokens": 30,
        "accumulate": 2,
        "schedule": Cosine(warmup_steps=4, hold=0.2),
        "ema": 0.8,
        "keep": "best",
        "patience": 20,
        "metric": "token_error_rate",
        "max_minutes": 10,
    },
    "accumulate, plateau, average best": {
        "accumulate": 2,
        "schedule": Plateau(warmup_steps=3, patience=2),
        "average": "best",
        "average_count": 3,
        "metric": "loss",
        "patience": 20,
    },
}
of_together = pytest.mark.parametrize("options", TOGETHER.values(), ids=TOGETHER)


def trained_with(padded, options):
    x, t, lengths = padded
    bi = {"bidirectional": True, "bridge": "affine", "attention": "general"}
    model = make_model(dropout=0.1, label_smoothing=0.05, **bi)
    trained = Trainer(model, Adam(0.02))
    records = trained.fit(
        x,
        t,
        25,
        4,
        5.0,
        seed=0,
        **lengths,
        validation_data=(x, lengths["source_lengths"], t, lengths["target_lengths"]),
        **options,
    )
    return model, trained.outcome, records


@of_together
def test_the_loss_falls_with_every_option(backend, padded, options):
    _, outcome, records = trained_with(padded, options)
    assert records[-1].loss < 0.6 * records[0].loss
    assert outcome.valid_loss < 0.8 * records[0].valid_loss
    assert outcome.valid_token_error_rate < records[0].valid_token_error_rate


@of_together
def test_the_same_seed_and_options_give_the_same_bits_on_any_number_of_threads(padded, options):
    skip_without_compiled_kernels()
    outcomes = []
    threads = fastattn.get_num_threads()
    with fastattn.use_backend("compiled"):
        for number in (1, 2):
            try:
                fastattn.set_num_threads(number)
                model, outcome, records = trained_with(padded, options)
            finally:
                fastattn.set_num_threads(threads)
            outcomes.append((model.params, outcome, [(r.loss, r.valid_loss, r.valid_token_error_rate) for r in records]))
    (params, *told), (others, *told_again) = outcomes
    assert same(params, others)
    assert told == told_again
