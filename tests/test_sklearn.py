"""A model of text as scikit-learn's estimator: parameters, clones, pickles, searches in other processes, and its own checks."""

import inspect
import io
import os
import pickle
import pickletools
import subprocess
import sys
import zlib

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

import joblib
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import validate_data

import fastattn
from fastattn.sklearn import DEFAULTS, LEFT_OUT, SequenceTransducer
from fastattn.training import SettingsError
from fastattn.training.settings import SECTIONS

TINY = {"embedding": 8, "hidden": 16, "epochs": 4, "batch_size": 4, "learning_rate": 0.03}
X = [a + b + c for a in "abc" for b in "abcd" for c in "cde"]
Y = [text[::-1] for text in X]


@pytest.fixture(autouse=True)
def _reference(monkeypatch):
    monkeypatch.setenv("FASTATTN_BACKEND", "reference")  # of other processes
    with fastattn.use_backend("reference"):
        yield


@pytest.fixture(scope="module")
def fitted():
    with fastattn.use_backend("reference"):
        return SequenceTransducer(**TINY).fit(X, Y)


def test_every_setting_is_a_parameter_or_left_out_by_name():
    settings = {name: section.default(name) for section in SECTIONS for name, _ in section.settings()}
    assert set(settings) >= LEFT_OUT
    expected = {name: default for name, default in settings.items() if name not in LEFT_OUT}
    expected["random_state"] = expected.pop("seed")
    given = SequenceTransducer().get_params()
    assert given == DEFAULTS
    assert {name: given[name] for name in expected} == expected
    assert given.keys() - expected.keys() == {"validation_fraction", "beam", "length_penalty", "verbose"}
    for name in given:
        assert f"\n- {name} (" in SequenceTransducer.__doc__
    assert "hidden=256" in str(inspect.signature(SequenceTransducer))


def test_parameters_reach_the_training(fitted):
    other = SequenceTransducer(**TINY).set_params(hidden=6, orthogonal=True, random_state=3, dropout={"output": 0.25})
    settings = other._settings()
    assert (settings.model.hidden, settings.model.orthogonal, settings.training.seed) == (6, True, 3)
    assert settings.model.dropout.output == 0.25
    assert fitted.translator_.settings.training.batch_size == 4
    with pytest.raises(ValueError, match="Invalid parameter 'hiden'"):
        other.set_params(hiden=5)
    with pytest.raises(TypeError, match="SequenceTransducer has no parameter 'hiden'; did you mean hidden"):
        SequenceTransducer(hiden=5)
    with pytest.raises(SettingsError, match=r"model\.hidden is -1; expected a whole number of at least 1"):
        SequenceTransducer(hidden=-1).fit(X, Y)


def test_it_learns_what_a_translator_learns(fitted):
    translator = fastattn.Translator.train(zip(X, Y), valid_fraction=0, progress=False, **TINY)
    assert fitted.predict(X).tolist() == translator.translate(X)
    assert (fitted.n_iter_, len(fitted.history_), fitted.outcome_.epochs) == (4, 4, (4,))
    answers = fitted.predict(X)
    assert fitted.score(X, answers) == 1.0
    wrong = [*answers[:18], *(f"{answer}!" for answer in answers[18:])]
    assert fitted.score(X, wrong) == 0.5
    beamed = clone(fitted).set_params(beam=3, length_penalty=0.5).fit(X, Y)
    assert beamed.predict(X).tolist() == translator.translate(X, beam=3, length_penalty=0.5)


def test_random_states():
    draws = [SequenceTransducer(random_state=state)._settings().training.seed for state in (7, np.int64(7), None, None)]
    assert draws[:2] == [7, 7]
    assert draws[2] != draws[3]
    state = np.random.RandomState(5)
    first = SequenceTransducer(random_state=state)._settings().training.seed
    assert first == SequenceTransducer(random_state=np.random.RandomState(5))._settings().training.seed
    assert first != SequenceTransducer(random_state=state)._settings().training.seed


def test_early_stopping_goes_by_what_is_held_out():
    stopping = {"epochs": 40, "patience": 1, "keep": "best", "metric": "loss", "learning_rate": 0.5, "schedule": "constant"}
    model = SequenceTransducer(**{**TINY, **stopping}, validation_fraction=0.25).fit(X, Y)
    assert model.n_iter_ < 40
    assert model.translator_.about["valid_pairs"] == 9
    assert "no better validation loss" in str(model.outcome_)
    assert SequenceTransducer(patience=2)._settings().data.valid_fraction == 0.05
    assert SequenceTransducer()._settings().data.valid_fraction == 0
    with pytest.raises(SettingsError, match=r"training\.patience is 1, which goes by held-out pairs"):
        SequenceTransducer(patience=1, validation_fraction=0.0).fit(X, Y)


def test_texts_come_as_sequences_arrays_and_columns(fitted):
    expected = fitted.predict(X).tolist()
    for given in (tuple(X), np.array(X), np.array(X, object), np.array(X)[:, None]):
        assert fitted.predict(given).tolist() == expected
    assert SequenceTransducer(**TINY).fit(np.array(X)[:, None], np.array(Y)).predict(X).tolist() == expected
    assert fitted.predict([""]).tolist() == [""]


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        ("abc", ["a"], TypeError, "X is 'abc'; expected a sequence of str"),
        (["a"], None, ValueError, "requires y to be passed, but the target y is None"),
        (["a", "b"], ["a"], ValueError, "X has 2 samples and y 1; expected as many of one as of the other"),
        ([], [], ValueError, "X has 0 samples; expected at least 1"),
        (["a", 5], ["a", "b"], TypeError, r"X\[1\] is 5; expected a str"),
        ([["a", "b"]], ["a"], ValueError, r"X has the shape \(1, 2\); expected one text for each sample"),
        (["a", " "], ["a", "b"], ValueError, "the source of pair 2 is empty"),
    ],
)
def test_texts_that_are_none(x, y, error, words):
    with pytest.raises(error, match=words):
        SequenceTransducer(**TINY).fit(x, y)


def test_unfitted():
    for call in (lambda m: m.predict(X), lambda m: m.score(X, Y), lambda m: m.outcome_):
        with pytest.raises(NotFittedError):
            call(SequenceTransducer())


def test_clones_and_pickles(fitted):
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    assert not hasattr(twin, "translator_")
    content = pickle.dumps(fitted)
    strings = {argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)}
    modules = {text for text in strings if text.startswith(("fastattn.", "numpy", "sklearn", "builtins"))}
    assert modules == {"fastattn.sklearn", "fastattn.training.translator"}
    stream = io.BytesIO()
    joblib.dump(fitted, stream)
    stream.seek(0)
    for again in (pickle.loads(content), joblib.load(stream)):
        assert again.get_params() == fitted.get_params()
        assert (again.predict(X) == fitted.predict(X)).all()
        assert again.outcome_ == fitted.outcome_


def upper(texts):
    return np.array([text.upper() for text in texts], object)


def test_in_a_pipeline_and_in_cross_validation():
    pipeline = make_pipeline(FunctionTransformer(upper), SequenceTransducer(**TINY)).fit(X, Y)
    assert pipeline[-1].translator_.source_vocabulary.symbols == tuple("ABCDE")
    assert pipeline.predict(["abc"]).shape == (1,)
    scores = cross_val_score(SequenceTransducer(**TINY), X, Y, cv=2)
    assert scores.shape == (2,)
    assert all(0 <= each <= 1 for each in scores)


class Counting(SequenceTransducer):
    """Its score is how many threads a process takes."""

    def score(self, X, y):
        return fastattn.get_num_threads()


def test_a_search_in_two_processes_shares_the_threads(monkeypatch):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FASTATTN_NUM_THREADS", "64")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    grid = {"hidden": [5, 6]}
    with joblib.parallel_config("loky", n_jobs=2):
        search = GridSearchCV(Counting(**{**TINY, "epochs": 1}), grid, cv=2, n_jobs=2).fit(X, Y)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    threads = {value for name, row in search.cv_results_.items() if name.startswith("split") for value in row}
    assert max(threads) <= max(1, cores // 2)
    assert search.best_params_["hidden"] in (5, 6)
    assert search.predict(["abc"]).shape == (1,)


@pytest.mark.slow  # two processes start
def test_a_search_finds_the_same_in_one_process_and_in_two():
    grid = {"learning_rate": [0.001, 0.05]}
    found = []
    for n_jobs in (1, 2):
        search = GridSearchCV(SequenceTransducer(**{**TINY, "epochs": 4}), grid, cv=2, n_jobs=n_jobs, scoring=minus_loss)
        found.append(search.fit(X, Y).cv_results_["mean_test_score"].tolist())
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    assert found[0] == found[1]
    assert found[0][0] < found[0][1]


def minus_loss(model, x, y):
    return float(np.mean([sum(each) for each in model.translator_.log_probabilities(list(zip(x, y)))]))


def test_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try:\n    import fastattn.sklearn\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == (
        "MissingExtraError fastattn.sklearn needs scikit-learn; install it with: pip install 'fastattn[sklearn]'\n"
    )


def test_its_tags_say_that_it_reads_text():
    tags = get_tags(SequenceTransducer())
    assert (tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array) == (True, True, False)
    assert tags.target_tags.required
    assert isinstance(SequenceTransducer(), BaseEstimator)


class OfNumbers(SequenceTransducer):
    """scikit-learn's checks know numbers alone, and leave estimators of text out: here each row of numbers is a text."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags

    def fit(self, X, y):
        if y is None:
            return super().fit(X, y)
        X, y = validate_data(self, X, y)
        return super().fit(as_texts(X), as_texts(np.asarray(y)[:, None]))

    def predict(self, X):
        if not hasattr(self, "translator_"):
            return super().predict(X)
        return as_numbers(super().predict(as_texts(validate_data(self, X, reset=False))))

    def score(self, X, y):
        return float(np.mean(self.predict(X) == as_numbers(as_texts(np.asarray(y)[:, None]))))


def as_numbers(texts):
    """Equal for equal texts, and hardly for others."""
    return np.array([float(zlib.crc32(text.encode())) for text in texts])


def as_texts(rows):
    return [" ".join(f"{number:.2g}" for number in row) for row in rows]


@parametrize_with_checks([OfNumbers(embedding=3, hidden=4, epochs=1)])
def test_scikit_learns_own_checks(estimator, check):
    """None fails where rows of numbers are texts."""
    check(estimator)


class AsItIs(SequenceTransducer):
    """The estimator itself, with the one tag that lets the checks give it their tables of numbers."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False
        return tags


NUMBERS = "fits to a table of numbers, which is refused: no text"
EXPECTED_FAILURES = dict.fromkeys(
    [
        *("check_fit_score_takes_y", "check_estimators_overwrite_params", "check_dont_overwrite_parameters"),
        *("check_estimators_fit_returns_self", "check_readonly_memmap_input", "check_estimators_dtypes", "check_dtype_object"),
        *("check_pipeline_consistency", "check_estimators_pickle", "check_f_contiguous_array_estimator"),
        *("check_methods_sample_order_invariance", "check_methods_subset_invariance", "check_fit2d_1sample"),
        *("check_fit2d_1feature", "check_dict_unchanged", "check_fit_idempotent", "check_fit_check_is_fitted"),
        *("check_fit2d_predict1d", "check_positive_only_tag_during_fit"),
    ],
    NUMBERS,
) | {
    "check_n_features_in_after_fitting": "a text has no number of features, so that there is no n_features_in_",
    "check_n_features_in": "a text has no number of features, so that there is no n_features_in_",
    "check_estimators_empty_data_messages": "wants a message about 0 features, which no text has",
    "check_estimators_nan_inf": "wants NaN to be named: any number is refused as no text",
    "check_complex_data": "wants complex numbers to be named: any number is refused as no text",
    "check_fit1d": "wants a ValueError for one number a sample; what is no text is a TypeError",
}


@pytest.mark.filterwarnings("ignore")
def test_what_fails_where_numbers_are_no_texts_is_known_by_name():
    results = check_estimator(
        AsItIs(embedding=3, hidden=4, epochs=1), on_skip=None, on_fail=None, expected_failed_checks=EXPECTED_FAILURES
    )
    of_status: dict[str, set] = {}
    for result in results:
        of_status.setdefault(result["status"], set()).add(result["check_name"])
    assert "failed" not in of_status, of_status["failed"]
    assert len(of_status["passed"]) > 10
    assert not of_status["passed"] & EXPECTED_FAILURES.keys()
