"""Training in shards, on one rank or on several: the same bits. Here ranks are threads, and the kernels the reference set's."""

import numpy as np
import pytest

import fastattn
from fastattn import AttentionSeq2seq, Trainer
from fastattn.training import SGD, AdaGrad, Adam, AdamW, DivergedError, Momentum, Nesterov, RMSprop, TrainingWarning
from fastattn.training.parallel import (
    Alone,
    Division,
    RankError,
    RanksDifferError,
    check_same,
    checked_shards,
    from_bfloat16,
    share_of_cores,
    to_bfloat16,
)
from fastattn.training.schedule import Linear

from .simulated import on_ranks

N, V = 37, 11


@pytest.fixture(autouse=True)
def reference():
    threads = fastattn.get_num_threads()
    with fastattn.use_backend("reference"):
        yield
    fastattn.set_num_threads(threads)


@pytest.fixture
def data(rng):
    x, t = rng.integers(4, V, (N, 6)), rng.integers(4, V, (N, 5))
    t[:, 0] = 1
    source, target = rng.integers(1, 7, N), rng.integers(2, 6, N)
    held_out = x[:13], source[:13], t[:13], target[:13]
    return {"x": x, "t": t, "source_lengths": source, "target_lengths": target, "validation_data": held_out}


OPTIONS = {"max_epoch": 3, "batch_size": 9, "max_grad": 0.5, "seed": 0, "progress": False}


def model(**choices):
    return AttentionSeq2seq(V, 5, 6, seed=0, **{"dropout": 0.2, **choices})


def trained(data, communicator=None, optimizer=None, of_model=None, **options):
    """A trainer after its fit, with the history."""
    trainer = Trainer(model(**(of_model or {})), Adam(0.01) if optimizer is None else optimizer, communicator)
    trainer.history = trainer.fit(**data, **{**OPTIONS, **options})
    return trainer


def results(trainers):
    for trainer in trainers:
        if isinstance(trainer, BaseException):
            raise trainer
    return trainers


def same(trainer, other):
    """Whether two fits came to the same, to the bit."""
    records = [
        [(r.epoch, r.step, r.loss, r.valid_loss, r.learning_rate, r.best) for r in each.history] for each in (trainer, other)
    ]
    states = [each.optimizer.state() for each in (trainer, other)]
    return (
        records[0] == records[1]
        and trainer.loss_list == other.loss_list
        and str(trainer.outcome) == str(other.outcome)
        and states[0].numbers == states[1].numbers
        and states[0].arrays.keys() == states[1].arrays.keys()
        and all(a.tobytes() == states[1].arrays[name].tobytes() for name, a in states[0].arrays.items())
        and all(a.tobytes() == b.tobytes() for a, b in zip(trainer.model.params, other.model.params, strict=True))
    )


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"accumulate": 2, "bucket": False}, {"batch_tokens": 60}])
@pytest.mark.parametrize("of_model", [{}, {"label_smoothing": 0.1, "recurrent_dropout": 0.2, "word_dropout": 0.1}])
def test_shards_give_the_step_of_the_undivided_batch(data, options, of_model):
    """Up to rounding: the mean is over the whole batch's tokens, and each sample has the masks that it would have there."""
    of_model = {**of_model, "dtype": "float64"}
    whole = trained(data, of_model=of_model, **options)
    assert whole.history[-1].loss < whole.history[0].loss
    assert same(whole, trained(data, of_model=of_model, shards=1, **options))
    for shards in (2, 8):
        divided = trained(data, of_model=of_model, shards=shards, **options)
        assert (divided.step, divided.model.step) == (whole.step, whole.model.step)
        assert divided.history[-1].valid_loss == pytest.approx(whole.history[-1].valid_loss, rel=1e-9)
        for a, b in zip(divided.model.params, whole.model.params, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        assert not same(divided, whole)


RUNS = [
    {},
    {"accumulate": 2, "schedule": "linear", "ema": 0.5},
    {"batch_tokens": 60, "keep": "best", "metric": "loss", "optimizer": lambda: SGD(0.5)},
    {"average": "best", "average_count": 2, "metric": "token_error_rate", "bucket": False, "optimizer": lambda: AdamW(0.05)},
    {"patience": 1, "metric": "loss", "optimizer": lambda: Momentum(2.0), "max_epoch": 6, "max_grad": None},
    {"schedule": "plateau", "metric": "loss", "optimizer": lambda: Nesterov(0.5), "batch_size": 3},
    {"optimizer": lambda: AdaGrad(0.01), "of_model": {"tie_embeddings": True, "share_embeddings": True, "attentional_size": 5}},
    {"optimizer": lambda: RMSprop(0.01), "of_model": {"dtype": "float64", "label_smoothing": 0.1}, "wire": "sparse"},
    {"average": "last", "schedule": Linear(warmup_steps=3), "on_step": len, "log_every": 2, "eval_interval": 2},
]


@pytest.mark.parametrize("options", RUNS, ids=lambda options: "-".join(options) or "plain")
def test_any_number_of_ranks_gives_the_same_bits(data, options):
    options = {**options}
    make = options.pop("optimizer", lambda: Adam(0.01))
    options.update({"on_step": lambda record: None} if "on_step" in options else {})
    alone = trained(data, optimizer=make(), shards=4, **options)
    for ranks in (1, 2, 4):
        for trainer in results(on_ranks(ranks, lambda c: trained(data, c, make(), shards=4, **options))):
            assert same(trainer, alone)


def test_there_are_eight_shards_unless_it_is_said(data):
    expected = trained(data, shards=8)
    assert not same(expected, trained(data, shards=4))
    for ranks in (1, 8):
        for trainer in results(on_ranks(ranks, lambda c: trained(data, c))):
            assert same(trainer, expected)


def test_batches_of_fewer_samples_than_shards(data):
    """Some ranks then have nothing to do, and their masks go on all the same."""
    alone = trained(data, batch_size=2, shards=8, max_epoch=1)
    for trainer in results(on_ranks(8, lambda c: trained(data, c, batch_size=2, max_epoch=1))):
        assert same(trainer, alone)
        assert trainer.model.step == trainer.step == 19


def test_a_model_that_is_not_ours(data):
    """With params, grads, forward and backward alone."""

    class Mean:
        def __init__(self):
            self.params, self.grads = [np.ones(3)], [np.zeros(3)]

        def forward(self, x, t):
            self.x = x
            return float(np.mean((x[:, :3] * self.params[0]) ** 2))

        def backward(self):
            self.grads[0][...] = 2 * np.mean(self.x[:, :3] ** 2 * self.params[0], axis=0) / 3

    def fit(communicator):
        trainer = Trainer(Mean(), SGD(0.001), communicator)
        trainer.fit(data["x"], data["t"], 2, 8, shards=4, seed=0, progress=False)
        return trainer.model.params[0]

    alone = fit(None)
    assert (alone < 0.99).all()
    for params in results(on_ranks(4, fit)):
        assert params.tobytes() == alone.tobytes()


def test_sums_go_by_the_tree():
    """With numbers of which another order gives other bits: the lines of shards, and the sums of ranks."""
    numbers = np.float32([1e8, 1, -1e8, 1, 3, 1e-8, 7e7, -7e7])
    expected = ((numbers[0] + numbers[1]) + (numbers[2] + numbers[3])) + ((numbers[4] + numbers[5]) + (numbers[6] + numbers[7]))
    assert expected != numbers.sum(dtype=np.float64)

    def updated(communicator):
        params = [np.zeros((5, 7), np.float32)]
        division = Division(communicator, 8, "dense", params, SGD(1.0))

        def lines():
            for shard in division.own:
                line = division.new_line()
                division.by_param(line)[0][...] = numbers[shard]
                yield line

        norm = division.update(params, division.add_up(lines()), None, 1.0)
        assert norm == pytest.approx(abs(expected) * 35**0.5)
        return params[0]

    for ranks in (1, 2, 4, 8):
        for param in results(on_ranks(ranks, updated)):
            assert (param == -expected).all()


# The wire.


def test_rows_that_did_not_occur_are_not_sent(rng):
    """The bits are the same, and with a large vocabulary there is less to send."""
    x, t = rng.integers(4, 20, (N, 6)), rng.integers(4, V, (N, 5))

    def fit(wire):
        def on_rank(communicator):
            trainer = Trainer(AttentionSeq2seq(2000, 16, 6, target_vocabulary=V, seed=0), Adam(0.01), communicator)
            trainer.fit(x, t, 2, 8, 1.0, seed=0, wire=wire, progress=False, shards=4)
            return trainer.model.params, communicator.sent

        return results(on_ranks(4, on_rank))

    dense, sparse = fit("dense"), fit("sparse")
    for (params, _), (others, _) in zip(dense, sparse, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(params, others, strict=True))
    assert sum(sent for _, sent in sparse) < 0.2 * sum(sent for _, sent in dense)


def test_sixteen_bits_on_the_wire(data):
    """All ranks have the same weights, near those of the whole numbers; half as much is sent."""
    sent = {}

    def fit(wire):
        def on_rank(communicator):
            trainer = trained(data, communicator, wire=wire)
            sent[wire] = communicator.sent
            return trainer

        return results(on_ranks(2, on_rank))

    exact, rounded = fit("dense"), fit("bfloat16")
    assert same(*rounded)
    assert sent["bfloat16"] * 2 == sent["dense"]
    assert not same(exact[0], rounded[0])
    assert rounded[0].history[-1].loss == pytest.approx(exact[0].history[-1].loss, rel=1e-2)


def test_bfloat16_is_rounded_to_the_nearest(rng):
    x = np.concatenate([rng.standard_normal(1000) * 10.0 ** rng.integers(-30, 30, 1000), [0, -0.0, np.inf, -np.inf, 1e-44]])
    x = x.astype(np.float32)
    back = from_bfloat16(to_bfloat16(x))
    finite = np.isfinite(x) & (np.abs(x) > 1e-37)
    assert (np.abs(back[finite] - x[finite]) <= np.abs(x[finite]) * 2.0**-8).all()
    assert back[1000:1004].tobytes() == x[1000:1004].tobytes()
    assert np.isnan(from_bfloat16(to_bfloat16(np.float32([np.nan, -np.nan])))).all()
    halfway = np.float32([1 + 2**-8, 1 + 3 * 2**-8])  # of two equally near ones the even one
    assert from_bfloat16(to_bfloat16(halfway)).tolist() == [1, 1 + 4 * 2**-8]
    torch = pytest.importorskip("torch")
    expected = torch.from_numpy(x).to(torch.bfloat16).to(torch.float32).numpy()
    assert back.tobytes() == expected.tobytes()


# Going on.


class Enough(Exception):
    pass


def stopped(data, communicator, step, state=None, **options):
    """The state of a fit that was ended after so many steps, or between two epochs; or what came out."""
    trainer = Trainer(model(), Adam(0.01), communicator)

    def stop(where):
        if trainer.step == step and where == "step":
            raise Enough

    try:
        trainer.history = trainer.fit(**data, **{**OPTIONS, **options}, between=stop, state=state)
    except Enough:
        return trainer.state()
    return trainer


def test_a_fit_goes_on_at_another_number_of_ranks(data):
    """From 2 to 4 and to 1, and on to 8, each time in the midst of an epoch."""
    options = {"accumulate": 2, "ema": 0.5, "schedule": "linear", "shards": 8, "batch_size": 5}
    expected = trained(data, **options)
    assert expected.step == 12
    state = None
    for ranks, step in ((2, 3), (4, 5), (1, 7), (8, 10)):
        states = results(on_ranks(ranks, lambda c: stopped(data, c, step, state, **options)))  # noqa: B023
        assert all(each.numbers["options"] == states[0].numbers["options"] for each in states)
        state = states[-1]
    for trainer in results(on_ranks(2, lambda c: stopped(data, c, -1, state, **options))):
        assert same(trainer, expected)
    alone = stopped(data, None, -1, state, **options)  # without a communicator, too
    assert same(alone, expected)
    with pytest.raises(ValueError, match="shards is None, and was 8"):
        stopped(data, None, -1, state, **{**options, "shards": 1})


def test_the_state_is_that_of_an_optimizer_by_itself(data):
    """What was divided is whole again, at the end of a fit and in its state; so another fit can follow, divided or not."""

    def fit(communicator):
        trainer = trained(data, communicator)
        trainer.fit(**data, **OPTIONS)
        return trainer

    for trainer in results(on_ranks(2, fit)):
        state = trainer.optimizer.state().part("states")
        shapes = [state.arrays[str(i)].shape for i in range(len(state.arrays))]
        assert shapes == 2 * [param.shape for param in trainer.model.params]
        assert trainer.optimizer.steps == 2 * 3 * 5
        trainer.communicator = None
        trainer.fit(**data, **OPTIONS)
        assert trainer.optimizer.steps == 3 * 3 * 5


# What is refused.


@pytest.mark.parametrize("shards", [3, 6, 12])
def test_shards_are_a_power_of_two(data, shards):
    with pytest.raises(ValueError, match=rf"shards is {shards}; expected a power of two: 1, 2, 4, 8, \.\.\."):
        trained(data, shards=shards)


@pytest.mark.parametrize(
    ("ranks", "shards", "said"),
    [
        (3, 8, "there are 3 ranks; expected a power of two"),
        (4, 2, "there are 4 ranks, and a batch has 2 shards; expected at most a rank a shard"),
        (2, 1, "there are 2 ranks, and a batch has 1 shard; expected"),
    ],
)
def test_ranks_that_do_not_fit(data, ranks, shards, said):
    with pytest.raises(ValueError, match=said):
        checked_shards(shards, ranks)
    for error in on_ranks(ranks, lambda c: trained(data, c, shards=shards)):
        assert isinstance(error, ValueError)
        assert said in str(error)


def test_an_optimizer_that_cannot_be_divided(data):
    class Own:
        lr = 0.1

        def update(self, params, grads, max_norm=None):
            raise AssertionError

    with pytest.raises(TypeError, match="Own cannot be divided; expected one of fastattn's optimizers"):
        trained(data, optimizer=Own(), shards=2)
    with pytest.raises(ValueError, match="wire is 'thin'; expected one of dense, sparse, bfloat16"):
        trained(data, wire="thin")


def other_data(data):
    x = data["x"].copy()
    x[7, 0] = 4 if x[7, 0] != 4 else 5
    return {**data, "x": x}


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (lambda data, c: trained(other_data(data), c), "the samples is '37 pairs, SHA-256"),
        (lambda data, c: trained(data, c, batch_size=8), "batch_size is 8, and 9 on rank 0"),
        (lambda data, c: trained(data, c, of_model={"orthogonal": True}), "the weights is 'SHA-256 "),
        (lambda data, c: trained(data, c, of_model={"dropout": 0.1}), "dropout's masks is "),
        (lambda data, c: trained(data, c, SGD(0.1)), "the optimizer is "),
        (lambda data, c: trained({**data, "validation_data": None}, c), "validation is 0, and 13 on rank 0"),
    ],
)
def test_a_rank_that_has_been_given_something_else(data, fit, said):
    ranks = on_ranks(4, lambda c: fit(data, c) if c.rank == 2 else trained(data, c))
    for error in ranks:
        assert isinstance(error, RanksDifferError)
        assert str(error).startswith("rank 2 cannot train with rank 0: ")
        assert said in str(error)


def test_another_version_is_named(monkeypatch):
    def differ(communicator):
        check_same(communicator, {"fastattn": "0.1.0" if communicator.rank < 3 else "0.2.0", "numpy": "2"})

    for error in on_ranks(4, differ):
        assert str(error) == "rank 3 cannot train with rank 0: fastattn is '0.2.0', and '0.1.0' on rank 0"


def test_without_a_seed_all_ranks_have_that_of_rank_0(data):
    first, second = results(on_ranks(2, lambda c: trained(data, c, seed=None)))
    assert same(first, second)


# What fails on one rank ends the fit on all.


class Fails:
    """Makes a method of a model fail on one rank, the n-th time."""

    def __init__(self, function, times):
        self.function, self.times = function, times

    def __call__(self, *args, **named):
        self.times -= 1
        if not self.times:
            raise MemoryError("no room")
        return self.function(*args, **named)


@pytest.mark.parametrize(("method", "times"), [("forward", 1), ("forward", 6), ("backward", 9), ("generate", 1)])
def test_a_rank_that_fails(data, method, times):
    def fit(communicator):
        trainer = Trainer(model(), Adam(0.01), communicator)
        if communicator.rank == 1:
            setattr(trainer.model, method, Fails(getattr(trainer.model, method), times))
        trainer.fit(**data, **OPTIONS)

    first, second = on_ranks(2, fit)
    assert isinstance(first, RankError)
    assert (first.rank, first.words, str(first)) == (1, "no room", "rank 1: no room")
    assert isinstance(second, MemoryError)


def test_a_callback_that_fails(data):
    def fit(communicator):
        def callback(record):
            if communicator.rank == 0 and record.epoch == 2:
                raise OSError(28, "No space left on device")

        trained(data, communicator, callbacks=[callback])

    first, second = on_ranks(2, fit)
    assert isinstance(first, OSError)
    assert isinstance(second, RankError)
    assert "No space left" in str(second)


def test_a_loss_that_is_no_number_ends_all_ranks(data):
    def fit(communicator):
        broken = model()
        broken.params[0][...] = np.nan
        Trainer(broken, Adam(), communicator).fit(**data, **OPTIONS)

    for error in on_ranks(4, fit):
        assert isinstance(error, DivergedError)
        assert "the loss is nan at epoch 1, step 1 of 5" in str(error)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_norm_that_is_no_number_ends_all_ranks(data):
    def fit(communicator):
        broken = model(dropout=0)
        backward = broken.backward

        def with_nan():
            backward()
            broken.grads[-1][0] = np.inf

        if communicator.rank == 1:
            broken.backward = with_nan
        before = [param.copy() for param in broken.params]
        try:
            Trainer(broken, Adam(), communicator).fit(**data, **OPTIONS)
        except DivergedError as error:
            return str(error), all(np.array_equal(a, b) for a, b in zip(broken.params, before, strict=True))

    for said, is_as_before in results(on_ranks(2, fit)):
        assert said.startswith("the norm of the gradients is inf at epoch 1, step 1")
        assert is_as_before


# Time and cores.


def test_all_go_by_the_clock_of_rank_0(data):
    """The others' clocks are hours away: the fit ends for all after the same step, and the schedule is the same."""

    def fit(communicator):
        trainer, rates = Trainer(model(), Adam(0.01), communicator), []
        whole_fit = trainer._fit

        def late_fit(run):
            run.clock.began -= 3600 * communicator.rank
            return whole_fit(run)

        trainer._fit = late_fit
        more = {"max_epoch": 10**6, "max_minutes": 0.02, "schedule": "linear"}
        trainer.history = trainer.fit(**data, **{**OPTIONS, **more}, between=lambda where: rates.append(trainer.optimizer.lr))
        return trainer, rates

    (first, rates), (second, others) = results(on_ranks(2, fit))
    assert first.step == second.step > 1
    assert rates == others
    assert "the time, 0.02 minutes, was up" in first.outcome.ended
    assert same(first, second)


def test_ranks_of_one_host_share_its_cores(monkeypatch):
    def share(hosts, cores, available=64):
        monkeypatch.setattr("fastattn.backend.available_cores", lambda: available)

        class Told(Alone):
            def __init__(self, rank):
                self.rank, self.size = rank, len(hosts)

            def allgather(self, own):
                assert own == (hosts[self.rank], cores[self.rank])
                return list(zip(hosts, cores))

        shares = []
        for rank, (host, own) in enumerate(zip(hosts, cores)):
            monkeypatch.setattr("platform.node", lambda host=host: host)
            monkeypatch.setattr("os.sched_getaffinity", lambda process, own=own: set(own))
            shares.append(share_of_cores(Told(rank)))
        return shares

    eight = list(range(8))
    assert share("aab", [eight] * 3) == [4, 4, 8]
    assert share("aa", [[0, 1, 2], [3]]) == [3, 1]  # the launcher has bound them
    assert share("aaa", [[0]] * 3) == [1, 1, 1]  # there are fewer cores than ranks
    assert share("a", [eight], available=2) == [2]  # OMP_NUM_THREADS


def test_a_number_of_threads_that_was_chosen_stays(data, monkeypatch):
    monkeypatch.setattr("fastattn.training.trainer.share_of_cores", lambda communicator: 3)
    fastattn.set_num_threads(2)
    Trainer(model(), Adam(), Alone())
    assert fastattn.get_num_threads() == 2
    monkeypatch.setattr("fastattn.backend._is_chosen", False)
    Trainer(model(), Adam(), Alone())
    assert fastattn.get_num_threads() == 3


def test_a_learning_rate_that_is_too_high_is_told(data):
    with pytest.warns(TrainingWarning, match="far above"):
        trained(data, optimizer=SGD(1000.0), max_grad=None, shards=2, of_model={"dropout": 0})
