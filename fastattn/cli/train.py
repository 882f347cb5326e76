"""`fastattn train`: a model from a file of pairs, or from the built-in corpus of dates."""

import argparse
import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .common import Terminated, UserError, choose_computing, fraction, positive_number, whole_number

if TYPE_CHECKING:
    import numpy as np

    from fastattn.data.pairs import Pair
    from fastattn.training import EpochRecord, Translator

# The defaults, all in one place.
OUT = "fastattn-model"
DATE_EPOCHS, EPOCHS = 5, 10
BATCH_SIZE = 64
EMBEDDING = 64
HIDDEN = 256
LEARNING_RATE = 0.002
SCHEDULE = "linear"
MAX_GRAD = 5.0
SEED = 0
VALID_FRACTION = 0.05


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn train`."""
    parser = commands.add_parser(
        "train",
        help="train a model",
        description="Train a model that turns one side of pairs of text into the other, and write it to a folder after "
        "every epoch. Without PAIRS.tsv it learns from the built-in corpus to write dates as YYYY-MM-DD.",
    )
    parser.add_argument(
        "pairs",
        nargs="?",
        metavar="PAIRS.tsv",
        help="one pair a line: source, tab, target; UTF-8 (default: the built-in corpus of dates)",
    )
    parser.add_argument("--out", default=OUT, metavar="DIR", help="the folder to write (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the model that stands in that folder")

    data = parser.add_argument_group("data")
    for side in ("source", "target"):
        data.add_argument(
            f"--{side}-tokens",
            choices=("char", "space"),
            default="char",
            help=f"what a token of the {side} is: a character, or what stands between spaces (default: %(default)s)",
        )
    data.add_argument("--reverse-source", action="store_true", help="read the source from its last token to its first")
    held_out = data.add_mutually_exclusive_group()
    held_out.add_argument("--valid", metavar="PAIRS.tsv", help="pairs to hold out, in a file of their own")
    held_out.add_argument(
        "--valid-fraction",
        type=fraction,
        metavar="X",
        help=f"the part of the sources to hold out, 0 for none (default: {VALID_FRACTION}; of the dates, a tenth)",
    )

    model = parser.add_argument_group("model")
    model.add_argument(
        "--embedding",
        type=whole_number(1),
        default=EMBEDDING,
        metavar="D",
        help="the width of an embedded token (default: %(default)s)",
    )
    model.add_argument(
        "--hidden",
        type=whole_number(1),
        default=HIDDEN,
        metavar="H",
        help="the width of the LSTMs' states (default: %(default)s)",
    )

    training = parser.add_argument_group("training")
    training.add_argument(
        "--epochs",
        type=whole_number(1),
        metavar="N",
        help=f"how often to go through the pairs (default: {EPOCHS}; for the dates {DATE_EPOCHS})",
    )
    training.add_argument(
        "--batch-size",
        type=whole_number(1),
        default=BATCH_SIZE,
        metavar="N",
        help="how many pairs a step learns from (default: %(default)s)",
    )
    training.add_argument(
        "--learning-rate",
        type=positive_number,
        default=LEARNING_RATE,
        metavar="X",
        help="Adam's step size (default: %(default)s)",
    )
    training.add_argument(
        "--schedule",
        choices=("linear", "constant"),
        default=SCHEDULE,
        help="whether the learning rate falls in a line to zero, over all steps, or stays (default: %(default)s)",
    )
    training.add_argument(
        "--max-grad",
        type=positive_number,
        default=MAX_GRAD,
        metavar="X",
        help="scale the gradients down to this global norm (default: %(default)s)",
    )
    training.add_argument(
        "--seed",
        type=whole_number(0),
        default=SEED,
        metavar="S",
        help="of the initial weights, the order of the pairs, and what is held out (default: %(default)s)",
    )

    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--threads",
        type=whole_number(1),
        metavar="N",
        help="how many threads to use (default: FASTATTN_NUM_THREADS, or every core); the results are the same",
    )
    computing.add_argument(
        "--backend",
        choices=("compiled", "reference"),
        help="the kernels: Numba's, or the slow ones in NumPy (default: FASTATTN_BACKEND, or compiled)",
    )
    # For the sub-command's own complaints about its usage.
    parser.set_defaults(run=run, wrong_usage=parser.error)


@dataclass(frozen=True)
class Corpus:
    """Pairs to train on, and pairs held out, of which there may be none."""

    name: str
    train: "list[Pair]"
    valid: "list[Pair]"


def run(arguments: argparse.Namespace) -> None:
    """Trains, and writes the folder after every epoch."""
    if arguments.pairs is None and (arguments.valid is not None or arguments.valid_fraction is not None):
        arguments.wrong_usage("--valid and --valid-fraction need PAIRS.tsv: of the dates, a tenth is held out")
    if arguments.epochs is None:
        arguments.epochs = EPOCHS if arguments.pairs else DATE_EPOCHS

    from fastattn.training import SCHEDULES, Adam, DivergedError, Trainer, save

    choose_computing(arguments.backend, arguments.threads)
    folder = Path(arguments.out)
    _check_folder(folder, arguments.overwrite)
    corpus = _read_corpus(arguments)
    _check_writing(folder)

    translator = _new_translator(arguments, corpus)
    x, source_lengths, t, target_lengths = _encode(corpus.train, translator)
    held_out = _encode(corpus.valid, translator) if corpus.valid else None
    settings = {
        "corpus": os.fsencode(corpus.name).decode(errors="replace"),  # the name of a file may be any bytes; JSON's text not
        "train_pairs": len(corpus.train),
        "valid_pairs": len(corpus.valid),
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "optimizer": "Adam",
        "learning_rate": arguments.learning_rate,
        "schedule": arguments.schedule,
        "max_grad": arguments.max_grad,
        "seed": arguments.seed,
    }
    history: list[EpochRecord] = []

    def finish_epoch(record: "EpochRecord") -> None:
        history.append(record)
        save(folder, translator, history, settings)
        print(_line(record, arguments.epochs), flush=True)

    try:
        _announce(arguments, corpus, translator)
        Trainer(translator.model, Adam(arguments.learning_rate)).fit(
            x,
            t,
            arguments.epochs,
            arguments.batch_size,
            arguments.max_grad,
            source_lengths=source_lengths,
            target_lengths=target_lengths,
            validation_data=held_out,
            callbacks=[finish_epoch],
            schedule=SCHEDULES[arguments.schedule],
            seed=arguments.seed,
        )
    except DivergedError as error:
        raise UserError(f"{error}; {_saved(history, folder)}") from error
    except (KeyboardInterrupt, Terminated) as stop:
        name = "interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated"
        raise type(stop)(f"{name}; {_saved(history, folder)}") from None

    exact_match = history[-1].valid_exact_match
    if exact_match is not None:
        count = round(exact_match * len(corpus.valid))
        print(f"held-out exact match {exact_match:.2%} ({count:,} of {len(corpus.valid):,})")
    example = (corpus.valid or corpus.train)[0][0]
    dashes = ["--"] if example.startswith("-") else []
    print(f"try it: {shlex.join(['fastattn', 'translate', str(folder), *dashes, example])}")


def _check_folder(folder: Path, overwrite: bool) -> None:
    """UserError unless the folder may be written: new, empty, or with a model that is to be replaced.

    A model takes long to train, so that none is replaced unasked; and a folder of other things is no place for one.
    """
    from fastattn.training.model_folder import holds_model

    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is not a folder")
    if holds_model(folder):
        if not overwrite:
            raise UserError(f"{folder}: holds a model already; give another --out, or --overwrite to replace it")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: holds other things than a model; give another --out")


def _check_writing(folder: Path) -> None:
    """Makes the folder. UserError, now and not after the first epoch, if no file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from error


def _read_corpus(arguments: argparse.Namespace) -> Corpus:
    from fastattn.data import date_pairs, read_pairs, split_dates, split_pairs

    if arguments.pairs is None:
        return Corpus("the built-in dates", *split_dates(date_pairs()))
    pairs = read_pairs(arguments.pairs)
    if arguments.valid is not None:
        return Corpus(arguments.pairs, pairs, read_pairs(arguments.valid))
    part = VALID_FRACTION if arguments.valid_fraction is None else arguments.valid_fraction
    if part == 0:
        return Corpus(arguments.pairs, pairs, [])
    try:
        return Corpus(arguments.pairs, *split_pairs(pairs, part, arguments.seed))
    except ValueError as error:
        raise UserError(f"{arguments.pairs}: {error}; --valid-fraction 0 holds none out") from error


def _new_translator(arguments: argparse.Namespace, corpus: Corpus) -> "Translator":
    """An untrained model with the vocabularies of what it is to be trained on."""
    from fastattn.data import Vocabulary
    from fastattn.models import AttentionSeq2seq
    from fastattn.training import Translator

    sources = Vocabulary.from_texts((source for source, _ in corpus.train), arguments.source_tokens)
    targets = Vocabulary.from_texts((target for _, target in corpus.train), arguments.target_tokens)
    model = AttentionSeq2seq(
        len(sources), arguments.embedding, arguments.hidden, target_vocabulary=len(targets), seed=arguments.seed
    )
    longest = max(len(targets.tokenize(target)) for _, target in corpus.train)
    return Translator(
        model,
        sources,
        targets,
        reverse_source=arguments.reverse_source,
        max_target_tokens=2 * (longest + 1),  # the end symbol counts
    )


def _encode(pairs: "list[Pair]", translator: "Translator") -> "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]":
    from fastattn.data import encode_pairs

    return encode_pairs(
        pairs,
        translator.source_vocabulary,
        translator.target_vocabulary,
        reverse_source=translator.reverse_source,
    )


def _announce(arguments: argparse.Namespace, corpus: Corpus, translator: "Translator") -> None:
    """Prints what is about to happen."""
    from fastattn import backend

    size = sum(param.size for param in translator.model.params)
    symbols = [
        f"{len(vocabulary.symbols):,} different {'characters' if vocabulary.token_kind == 'char' else 'words'}"
        for vocabulary in (translator.source_vocabulary, translator.target_vocabulary)
    ]
    print(f"corpus     {corpus.name}: {len(corpus.train):,} pairs to train on, {len(corpus.valid):,} held out")
    print(f"tokens     {symbols[0]} in the sources, {symbols[1]} in the targets")
    print(f"model      embedding {arguments.embedding}, hidden {arguments.hidden}: {size:,} weights")
    print(
        f"training   epochs {arguments.epochs}, batch size {arguments.batch_size}, learning rate "
        f"{arguments.learning_rate:g} (Adam, {arguments.schedule}), gradient norm up to {arguments.max_grad:g}, "
        f"seed {arguments.seed}"
    )
    print(f"computing  {backend.get_backend()} kernels, threads {backend.get_num_threads()}")
    print(f"writing    {arguments.out}", flush=True)


def _line(record: "EpochRecord", epochs: int) -> str:
    parts = [f"epoch {record.epoch}/{epochs}", f"loss {record.loss:.4f}"]
    if record.valid_loss is not None and record.valid_exact_match is not None:
        parts += [f"held out: loss {record.valid_loss:.4f}, exact match {record.valid_exact_match:.2%}"]
    return "  ".join([*parts, f"{record.tokens_per_second:,.0f} tokens/s", f"{record.seconds:.1f} s"])


def _saved(history: "list[EpochRecord]", folder: Path) -> str:
    """What an interruption leaves."""
    return f"epoch {history[-1].epoch} is saved in {folder}" if history else "no epoch was finished, nothing is saved"
