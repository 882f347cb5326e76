"""A model of text as an estimator of scikit-learn: ``fit(X, y)``, ``predict(X)``, ``score(X, y)``. Needs the extra `sklearn`.

Its parameters are made from the settings of a run (`fastattn.training.settings`), where each is said once.
"""

from __future__ import annotations

import inspect
import multiprocessing
from typing import Any, Self

import numpy as np

from fastattn import backend
from fastattn.data import MissingExtraError
from fastattn.data.words import did_you_mean
from fastattn.evaluation import score
from fastattn.training import History, Outcome, Settings, Translator
from fastattn.training.settings import SECTIONS, VALID_FRACTION

try:
    from sklearn.base import BaseEstimator
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise MissingExtraError("fastattn.sklearn needs scikit-learn; install it with: pip install 'fastattn[sklearn]'") from error

__all__ = ["SequenceTransducer"]

# Settings that have nothing to say here: of files of pairs, for the pairs are in memory; of what is held out, which has a
# parameter of its own; and of folders and lines of a log, which `fit` does not write.
OF_FILES = (
    "pairs",
    "source_column",
    "target_column",
    "separator",
    "header",
    "extra_columns",
    "comment",
    "variants",
    "token_cache",
)
OF_HELD_OUT = ("valid", "valid_fraction")
OF_FOLDERS = ("checkpoint_every", "keep_checkpoints", "log_every")
OF_CARD = ("license",)
LEFT_OUT = {*OF_FILES, *OF_HELD_OUT, *OF_FOLDERS, *OF_CARD}

# Settings that scikit-learn has another name for.
RENAMED = {"seed": "random_state"}

# Parameters that are no settings: the default, and what they say.
OWN: dict[str, tuple[Any, str]] = {
    "validation_fraction": (
        None,
        "the part of the sources to hold out, by which patience, keep, average and plateau go; None: "
        f"{VALID_FRACTION} if one of them does, or else 0",
    ),
    "beam": (1, "how many hypotheses `predict` follows"),
    "length_penalty": (0.0, "how `predict` orders hypotheses of unlike lengths, as `Translator.translate`"),
    "verbose": (False, "show the progress of `fit`"),
}

# Of each parameter that is one: the name of the setting, its default, and what it says.
SETTINGS = {
    RENAMED.get(name, name): (name, section.default(name), one.help)
    for section in SECTIONS
    for name, one in section.settings()
    if name not in LEFT_OUT
}
DEFAULTS = {name: default for name, (_, default, _) in SETTINGS.items()} | {name: default for name, (default, _) in OWN.items()}


class SequenceTransducer(BaseEstimator):
    """Learns to turn a text into another, by an LSTM encoder-decoder with attention.

    X and y are texts, a sequence, array or column of str: as many of one as of the other. A model of sources with features
    (``features_column``, any number) takes source, tab, features.

    ``translator_``: the trained `Translator`; ``n_iter_``: how many epochs were made; ``history_``: a record of each;
    ``outcome_``: which weights were kept, and why.

    A pickle holds the parameters and, of a fitted one, the bytes of the model's files (safetensors and JSON). In a worker
    process of joblib no more threads are used than joblib leaves it.
    """

    def __init__(self, **params: Any) -> None:
        for name in params:
            if name not in DEFAULTS:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}{did_you_mean(name, DEFAULTS)}")
        for name, default in DEFAULTS.items():
            setattr(self, name, params.get(name, default))

    # scikit-learn reads the parameters from here.
    __init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in DEFAULTS.items()),
        ]
    )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Learns to answer the texts X with the texts y. ValueError or TypeError for what is none, or cannot be."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        sources, targets = _texts("X", X), _texts("y", y)
        if len(sources) != len(targets):
            raise ValueError(f"X has {len(sources)} samples and y {len(targets)}; expected as many of one as of the other")
        settings = self._settings()
        _share_threads()
        self.translator_ = Translator.train(zip(sources, targets), config=settings, progress=bool(self.verbose))
        self.n_iter_ = len(self.translator_.history)
        return self

    def _settings(self) -> Settings:
        choices = {setting: getattr(self, name) for name, (setting, _, _) in SETTINGS.items()}
        if choices["seed"] is None or isinstance(choices["seed"], np.random.RandomState):
            choices["seed"] = int(check_random_state(choices["seed"]).randint(2**31 - 1))
        settings = Settings.of(**choices)
        held_out = self.validation_fraction
        if held_out is None:
            held_out = 0.0 if settings.training.needs_held_out is None else VALID_FRACTION
        return settings.replaced(valid_fraction=held_out)

    @property
    def history_(self) -> History:
        """A record of each epoch."""
        check_is_fitted(self)
        return History(self.translator_.history)

    @property
    def outcome_(self) -> Outcome | None:
        """Which weights were kept, and why."""
        check_is_fitted(self)
        return self.translator_.outcome

    def predict(self, X: Any) -> np.ndarray:
        """The answers to the texts X: an array (n_samples,) of str, as objects. A text without a token has the answer ""."""
        check_is_fitted(self)
        texts = _texts("X", X)
        _share_threads()
        answers = np.empty(len(texts), object)
        answers[:] = self.translator_.translate(texts, beam=self.beam, length_penalty=self.length_penalty)
        return answers

    def score(self, X: Any, y: Any) -> float:
        """The part of the answers to X, from 0 to 1, that are y in every token. `Translator.score` has more figures."""
        answers, targets = self.predict(X), _texts("y", y)
        vocabulary, reading = self.translator_.target_vocabulary, self.translator_.reading
        given = [vocabulary.tokenize(answer) for answer in answers]
        return score(given, [vocabulary.tokenize(reading.normalized(target)) for target in targets]).exact_match


def _documented() -> str:
    """A line for each parameter."""
    said = [f"{name} ({default!r}): {help}" for name, (_, default, help) in SETTINGS.items()]
    said += [f"{name} ({default!r}): {help}" for name, (default, help) in OWN.items()]
    return "\n".join(f"- {line}" for line in said)


SequenceTransducer.__doc__ = f"{inspect.getdoc(SequenceTransducer)}\n\nParameters:\n\n{_documented()}\n"


def _texts(name: str, given: Any) -> list[str]:
    """Texts as a list; of a table with one column, that column."""
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        raise TypeError(f"{name} is {given!r:.100}; expected a sequence of str")
    if hasattr(given, "toarray"):
        raise TypeError(f"{name} is a sparse matrix; expected a sequence of str")
    array = given.to_numpy() if hasattr(given, "to_numpy") else given
    if not isinstance(array, np.ndarray):
        array = np.array(list(given), dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} has the shape {array.shape}; expected one text for each sample, (n_samples,)")
    if not len(array):
        raise ValueError(f"{name} has 0 samples; expected at least 1")
    for index, text in enumerate(array):
        if not isinstance(text, str):
            raise TypeError(f"{name}[{index}] is {text!r:.100}; expected a str")
    return [str(text) for text in array]


def _share_threads() -> None:
    """In a worker process of joblib's: no more threads than the cores that joblib leaves it.

    It says so in OMP_NUM_THREADS, which `backend` goes by unless FASTATTN_NUM_THREADS is set; a worker that may have no
    processes of its own has one core.
    """
    if multiprocessing.parent_process() is None:
        return
    cores = 1 if multiprocessing.current_process().daemon else backend.available_cores()
    backend.set_num_threads(min(backend.get_num_threads(), cores))
