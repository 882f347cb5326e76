"""`fastattn train`: a model from a file of pairs, or from the built-in corpus of dates."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import (
    Parser,
    Terminated,
    UserError,
    choose_computing,
    compiling_in_a_line,
    positive_number,
    warnings_in_a_line,
    whole_number,
)

if TYPE_CHECKING:
    from fastattn.training import Board, EpochRecord, Settings, StepRecord, TrainingRun
    from fastattn.training.communicators import Watched
    from fastattn.training.kinds import Kind
    from fastattn.training.settings import Section

OUT = "fastattn-model"
PICTURE = "learning-curve.png"

# How the announcement names things.
SYMBOLS = {"char": "characters", "space": "symbols", "grapheme": "graphemes"}
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
SAID = ("epochs", "batch_size", "batch_tokens", "optimizer", "learning_rate", "schedule", "max_grad", "seed")


def add_parser(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Adds `fastattn train`."""
    parser = commands.add_parser(
        "train",
        usage="%(prog)s [PAIRS.tsv] [--out DIR] [--config FILE] [OPTION ...]; --help lists the options",
        help="train a model",
        description="Train a model that turns one side of pairs of text into the other, and write it to a folder after "
        "every epoch. Without PAIRS.tsv it learns from the built-in corpus to write dates as YYYY-MM-DD.",
        add_later=_add_arguments,
    )
    # For the sub-command's own complaints about its usage.
    parser.set_defaults(run=run, wrong_usage=parser.error)


def _add_arguments(parser: Parser) -> None:
    """A flag for each setting, and those that are of the command alone."""
    from fastattn.training.settings import SECTIONS

    parser.add_argument("--out", metavar="DIR", help=f"the folder to write (default: {OUT})")
    parser.add_argument("--overwrite", action="store_true", help="replace the model that stands in that folder")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="go on with the run that was interrupted in this folder, from its last checkpoint, with its settings",
    )
    parser.add_argument("--config", metavar="FILE", help="read the settings from this TOML file; flags win over it")
    parser.add_argument(
        "--print-config", action="store_true", help="print the settings as such a file, with comments, and train nothing"
    )
    parser.add_argument(
        "--plot",
        action="store_true",
        help=f"draw the learning curve in the folder, as {PICTURE}; needs the extra plot: pip install 'fastattn[plot]'",
    )
    parser.add_argument(
        "--tensorboard",
        metavar="LOGS",
        help="write the run for TensorBoard to this folder; needs the extra tensorboard: pip install 'fastattn[tensorboard]'",
    )
    for section in SECTIONS:
        _add_section(parser.add_argument_group(section.title()), section)
    computing = parser.add_argument_group("computing")
    computing.add_argument(
        "--threads",
        type=whole_number(1),
        metavar="N",
        help="how many threads to use (default: FASTATTN_NUM_THREADS, or every core; on MPI a rank's share of its host's); the "
        "results are the same",
    )
    computing.add_argument(
        "--backend",
        choices=("compiled", "reference"),
        help="the kernels: Numba's, or the slow ones in NumPy (default: FASTATTN_BACKEND, or compiled)",
    )
    computing.add_argument(
        "--mpi",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="train on all processes that mpiexec or srun has started together (default: if one of them started this one); "
        "needs the extra mpi: pip install 'fastattn[mpi]'",
    )
    computing.add_argument(
        "--mpi-timeout",
        type=positive_number,
        metavar="SECONDS",
        help="end the job where one of its processes lets the others wait for so long (default: 300)",
    )


def _add_section(group: "argparse._ArgumentGroup", section: "type[Section]") -> None:
    """The flags of a section. Only those that are given stand among the arguments afterwards."""
    from fastattn.training.kinds import Choice, Switch

    exclusive: dict[str | None, argparse._MutuallyExclusiveGroup] = {}
    for name, one in section.settings():
        flag = flag_of(name)
        help = f"{one.help} (default: {section.default_text(name)})".replace("%", "%%")
        place: Any = group
        if one.replaces is not None:
            place = exclusive[name] = exclusive.get(one.replaces) or group.add_mutually_exclusive_group()
        if isinstance(one.kind, Switch):
            place.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help)
        elif isinstance(one.kind, Choice):
            place.add_argument(flag, choices=one.kind.names, default=argparse.SUPPRESS, help=help)
        else:
            names: dict[str, Any] = {"nargs": "?"} if name == "pairs" else {"dest": name}
            parse = _parser_of(one.kind)
            label = name if name == "pairs" else flag
            place.add_argument(label, type=parse, default=argparse.SUPPRESS, metavar=one.letter, help=help, **names)


def flag_of(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")


def _parser_of(kind: "Kind") -> Callable[[str], Any]:
    """A type for argparse."""

    def parse(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind.expected}") from None

    return parse


def chosen_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    from fastattn.training.settings import SECTIONS

    if arguments.resume is not None:
        for name in ("out", "overwrite", "config", "print_config"):
            if getattr(arguments, name) not in (None, False):
                arguments.wrong_usage(f"{flag_of(name)} does not go with --resume: the folder and the settings are the run's")
    names = {name for section in SECTIONS for name, _ in section.settings()}
    flags = {name: value for name, value in vars(arguments).items() if name in names}
    if flags.get("pairs", "") is None:  # most likely a variable of a shell that is not set
        arguments.wrong_usage("argument PAIRS.tsv: '' is no file; leave it out to learn from the built-in dates")
    return flags


def chosen_settings(arguments: argparse.Namespace, flags: dict[str, Any]) -> "Settings":
    """The settings of the flags, over those of the config file. SettingsError for what cannot be."""
    from fastattn.training.settings import Settings

    settings = Settings.of(**flags) if arguments.config is None else Settings.read(arguments.config, **flags)
    if settings.data.pairs is None and flags.keys() & {"valid", "valid_fraction"} and not arguments.print_config:
        arguments.wrong_usage("--valid and --valid-fraction need PAIRS.tsv: of the dates, a tenth is held out")
    return settings


def run(arguments: argparse.Namespace) -> None:
    """Trains, and writes the folder after every epoch."""
    given = chosen_flags(arguments)
    settings = None if arguments.resume is not None else chosen_settings(arguments, given)
    if settings is not None and arguments.print_config:
        sys.stdout.write(settings.to_toml())
        return

    from fastattn.training.communicators import launched

    is_on_mpi = launched() is not None if arguments.mpi is None else arguments.mpi
    if not is_on_mpi:
        if arguments.mpi_timeout is not None:
            arguments.wrong_usage("--mpi-timeout is for training on MPI: start it by mpiexec, or say --mpi")
        _train(arguments, settings, given, None)
        return
    from .ranks import guarded, joined

    guarded()
    with joined(arguments.mpi_timeout) as communicator:
        _train(arguments, settings, given, communicator)


def _train(
    arguments: argparse.Namespace, settings: "Settings | None", given: dict[str, Any], communicator: "Watched | None"
) -> None:
    """The whole run; of several ranks the first alone prints."""
    from fastattn.data import require
    from fastattn.training import TrainingRun, TrainingWarning

    is_first = communicator is None or communicator.rank == 0
    if arguments.plot:
        require("matplotlib", "plot", "--plot")
    if arguments.tensorboard is not None:
        require("tensorboardX", "tensorboard", "--tensorboard")
    choose_computing(arguments.backend, _threads(arguments, communicator))
    with warnings_in_a_line(TrainingWarning, shown=is_first):
        if settings is None:
            run = TrainingRun.resume(arguments.resume, communicator=communicator, **given)
        else:
            folder = OUT if arguments.out is None else arguments.out
            run = TrainingRun(settings, folder, overwrite=arguments.overwrite, communicator=communicator)
    if not is_first:
        with warnings_in_a_line(TrainingWarning, shown=False):
            run.train()
        return
    _train_and_tell(arguments, run, communicator)


def _threads(arguments: argparse.Namespace, communicator: "Watched | None") -> int | None:
    """Those that were asked for, or a rank's share of its host's cores; None: those of a process by itself."""
    from fastattn.training.parallel import share_of_cores

    if communicator is None:
        return arguments.threads
    share = share_of_cores(communicator)  # a question to all ranks
    return arguments.threads or (None if os.environ.get("FASTATTN_NUM_THREADS") else share)


def _train_and_tell(arguments: argparse.Namespace, run: "TrainingRun", communicator: "Watched | None") -> None:
    from fastattn.training import DivergedError, TrainingWarning, epoch_line

    board = None if arguments.tensorboard is None else _board(arguments.tensorboard)
    epochs, log_every = run.settings.training.epochs, run.settings.training.log_every

    def finish_epoch(record: "EpochRecord") -> None:
        print(epoch_line(record, epochs), flush=True)
        if board is not None:
            board.add_epoch(record)

    def finish_steps(record: "StepRecord") -> None:
        if log_every is not None:
            print(_step_line(record, epochs), flush=True)
        if board is not None:
            board.add_steps(record)

    try:
        _announce(run, communicator)
        with warnings_in_a_line(TrainingWarning), compiling_in_a_line():
            run.train([finish_epoch], on_step=finish_steps if log_every or board else None)
    except DivergedError as error:
        raise UserError(f"{error}; {_saved(run, goes_on=False)}") from error
    except (KeyboardInterrupt, Terminated) as stop:
        name = "interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated"
        raise type(stop)(f"{name}; {_saved(run)}") from None
    finally:
        if board is not None:
            board.close()
        if arguments.plot and run.history:
            _plot(run)

    corpus, outcome = run.corpus, run.outcome
    if outcome is not None:
        print(outcome)
    if outcome is not None and outcome.valid_exact_match is not None:
        count = round(outcome.valid_exact_match * len(corpus.valid))
        print(f"held-out exact match {outcome.valid_exact_match:.2%} ({count:,} of {len(corpus.valid):,})")
    print(f"try it: {_command(run)}")


def _board(folder: str) -> "Board":
    """UserError where the folder cannot be written."""
    from fastattn.training import Board

    try:
        return Board(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _plot(run: "TrainingRun") -> None:
    """Draws the learning curve in the folder. OSError as `open` has it."""
    from fastattn.data import atomic_write
    from fastattn.drawing.curves import picture_of_history

    atomic_write(Path(run.folder or ".") / PICTURE, picture_of_history(run.history))


def _command(run: "TrainingRun") -> str:
    """One that translates a source of those held out; where all are long, the file."""
    from fastattn.data.reading import split_features
    from fastattn.training.run import LONGEST_EXAMPLE

    example, pairs = run.corpus.example, run.settings.data.pairs
    command = ["fastattn", "translate", str(run.folder)]
    if len(example) > LONGEST_EXAMPLE and pairs not in (None, "-"):
        return shlex.join([*command, "--input", str(pairs)])
    if run.settings.data.reading.has_features:
        text, features = split_features(example)
        example = f"{text}\t{run.settings.data.features_separator.join(features)}"
    dashes = ["--"] if example.startswith("-") else []
    return f"{shlex.join([*command, *dashes])} {_word(example)}"


def _word(text: str) -> str:
    """A text as a word of a shell; what no terminal shows, a tab above all, as an escape that bash and zsh read."""
    if not any(each < " " or each == "\x7f" for each in text):
        return shlex.quote(text)
    escapes = {"\t": r"\t", "\\": r"\\", "'": r"\'"}
    escaped = (escapes.get(each, f"\\{ord(each):03o}" if each < " " or each == "\x7f" else each) for each in text)
    return f"$'{''.join(escaped)}'"


def _announce(run: "TrainingRun", communicator: "Watched | None") -> None:
    """Prints what is about to happen."""
    from fastattn import backend

    corpus, model, training = run.corpus, run.settings.model, run.settings.training
    size = sum(param.size for param in run.translator.model.params)
    symbols = [
        f"{len(vocabulary.symbols):,} different {SYMBOLS[vocabulary.token_kind]}"
        + ("" if vocabulary.features is None else f" and {len(vocabulary.features):,} features")
        for vocabulary in (run.translator.source_vocabulary, run.translator.target_vocabulary)
    ]
    passed_over = f"; passed over: {corpus.passed_over}" if corpus.passed_over else ""
    sizes = [f"embedding {model.embedding}", f"hidden {model.hidden}", *_changes(model, ["embedding", "hidden"])]
    batch = ["batch_size", "batch_tokens"][training.batch_tokens is not None]
    steps = [
        f"epochs {training.epochs}",
        f"{batch.replace('_', ' ')} {getattr(training, batch)}",
        f"learning rate {training.learning_rate:g} ({OPTIMIZERS[training.optimizer]}, {training.schedule})",
        f"gradient norm up to {training.max_grad:g}",
        *_changes(training, SAID),
        f"seed {training.seed}",
    ]
    pairs = "pair" if len(corpus.train) == 1 else "pairs"
    print(f"corpus     {corpus.name}: {len(corpus.train):,} {pairs} to train on, {len(corpus.valid):,} held out{passed_over}")
    print(f"tokens     {symbols[0]} in the sources, {symbols[1]} in the targets")
    if unseen := _unseen(run):
        print(f"unseen     {unseen}")
    print(f"model      {', '.join(sizes)}: {size:,} weights")
    print(f"training   {', '.join(steps)}")
    print(f"computing  {backend.get_backend()} kernels, threads {backend.get_num_threads()}")
    if communicator is not None:
        print(f"ranks      {communicator.in_words()}; shards of a batch {training.shards or 1}")
    if run.checkpoint is not None:
        print(f"resuming   after step {run.checkpoint:,}")
    print(f"writing    {run.folder}", flush=True)


def _unseen(run: "TrainingRun") -> str:
    """How many held-out pairs have symbols that no pair to train on has; "" for none, and for pairs on disk, which are ids."""
    from fastattn.data.words import counted, shown

    held_out, of_pairs = run.corpus.valid, 0
    symbols: dict[str, None] = {}
    for source, target in held_out if isinstance(held_out, list) else []:
        found = [*run.translator.source_vocabulary.unknown(source), *run.translator.target_vocabulary.unknown(target)]
        of_pairs += bool(found)
        symbols.update(dict.fromkeys(found))
    if not of_pairs:
        return ""
    of_all = f"{of_pairs:,} of {counted(len(held_out), 'held-out pair')} {'has' if of_pairs == 1 else 'have'}"
    return f"{of_all} symbols that no pair to train on has: {shown(symbols)}"


def _changes(section: "Section", said: Sequence[str]) -> list[str]:
    """The settings that are not at their defaults, in words, without those that are said anyway."""
    kinds = dict(section.settings())
    changes = {name: kinds[name].kind.toml(value).strip('"') for name, value in section.changed().items() if name not in said}
    return [name.replace("_", " ") + ("" if text == "true" else f" {text}") for name, text in changes.items()]


def _step_line(record: "StepRecord", epochs: int | None) -> str:
    minutes, seconds = divmod(round(record.seconds_left), 60)
    parts = [
        f"epoch {record.epoch}/{epochs}",
        f"step {record.step:,}",
        f"loss {record.loss:.4f}",
        f"learning rate {record.learning_rate:.3g}",
        f"gradient norm {record.gradient_norm:.3g}",
        f"{record.tokens_per_second:,.0f} tokens/s",
        f"{minutes:,}:{seconds:02} left",
    ]
    return "  ".join(parts)


def _saved(run: "TrainingRun", goes_on: bool = True) -> str:
    """What the end of a run leaves, and, where it makes sense, how to go on."""
    saved = f"epoch {run.saved} is saved in {run.folder}"
    if run.checkpoint is None or not goes_on:
        return "no epoch was finished, nothing is saved" if run.saved is None else saved
    go_on = f"step {run.checkpoint} is kept; go on with: {shlex.join(['fastattn', 'train', '--resume', str(run.folder)])}"
    return go_on if run.saved is None else f"{saved}, {go_on}"
