"""`fastattn train`: a model from a file of pairs, or from the built-in corpus of dates."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .common import Parser, Terminated, UserError, choose_computing, whole_number
from .curves import PICTURE, Board, check_extra, plot

if TYPE_CHECKING:
    from fastattn.training import EpochRecord, Settings, TrainingRun
    from fastattn.training.kinds import Kind
    from fastattn.training.settings import Section

OUT = "fastattn-model"


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

    parser.add_argument("--out", default=OUT, metavar="DIR", help="the folder to write (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the model that stands in that folder")
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
        help="how many threads to use (default: FASTATTN_NUM_THREADS, or every core); the results are the same",
    )
    computing.add_argument(
        "--backend",
        choices=("compiled", "reference"),
        help="the kernels: Numba's, or the slow ones in NumPy (default: FASTATTN_BACKEND, or compiled)",
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


def chosen_settings(arguments: argparse.Namespace) -> "Settings":
    """The settings of the flags, over those of the config file. SettingsError for what cannot be."""
    from fastattn.training.settings import SECTIONS, Settings

    names = {name for section in SECTIONS for name, _ in section.settings()}
    flags = {name: value for name, value in vars(arguments).items() if name in names}
    settings = Settings.of(**flags) if arguments.config is None else Settings.read(arguments.config, **flags)
    if settings.data.pairs is None and flags.keys() & {"valid", "valid_fraction"} and not arguments.print_config:
        arguments.wrong_usage("--valid and --valid-fraction need PAIRS.tsv: of the dates, a tenth is held out")
    return settings


def run(arguments: argparse.Namespace) -> None:
    """Trains, and writes the folder after every epoch."""
    settings = chosen_settings(arguments)
    if arguments.print_config:
        sys.stdout.write(settings.to_toml())
        return

    from fastattn.training import DivergedError, TrainingRun

    if arguments.plot:
        check_extra("--plot", "matplotlib", "plot")
    if arguments.tensorboard is not None:
        check_extra("--tensorboard", "tensorboardX", "tensorboard")
    choose_computing(arguments.backend, arguments.threads)
    run = TrainingRun(settings, arguments.out, overwrite=arguments.overwrite)
    board = None if arguments.tensorboard is None else Board(arguments.tensorboard)
    epochs = run.settings.training.epochs
    on_epoch: list[Callable[[EpochRecord], object]] = [lambda record: print(_line(record, epochs), flush=True)]
    if board is not None:
        on_epoch.append(board.add_epoch)
    try:
        _announce(run)
        run.train(on_epoch)
    except DivergedError as error:
        raise UserError(f"{error}; {_saved(run)}") from error
    except (KeyboardInterrupt, Terminated) as stop:
        name = "interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated"
        raise type(stop)(f"{name}; {_saved(run)}") from None
    finally:
        if board is not None:
            board.close()
        if arguments.plot and run.history:
            plot(run.history, run.folder)

    corpus = run.corpus
    exact_match = run.history[-1].valid_exact_match
    if exact_match is not None:
        count = round(exact_match * len(corpus.valid))
        print(f"held-out exact match {exact_match:.2%} ({count:,} of {len(corpus.valid):,})")
    example = (corpus.valid or corpus.train)[0][0]
    dashes = ["--"] if example.startswith("-") else []
    print(f"try it: {shlex.join(['fastattn', 'translate', str(run.folder), *dashes, example])}")


def _announce(run: "TrainingRun") -> None:
    """Prints what is about to happen."""
    from fastattn import backend

    corpus, model, training = run.corpus, run.settings.model, run.settings.training
    size = sum(param.size for param in run.translator.model.params)
    symbols = [
        f"{len(vocabulary.symbols):,} different {'characters' if vocabulary.token_kind == 'char' else 'symbols'}"
        for vocabulary in (run.translator.source_vocabulary, run.translator.target_vocabulary)
    ]
    sizes = [f"embedding {model.embedding}", f"hidden {model.hidden}", *_changes(model, ["embedding", "hidden"])]
    batch = f"batch size {training.batch_size}"
    optimizer = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}[training.optimizer]
    said = ["epochs", "batch_size", "optimizer", "learning_rate", "schedule", "max_grad", "seed"]
    print(f"corpus     {corpus.name}: {len(corpus.train):,} pairs to train on, {len(corpus.valid):,} held out")
    print(f"tokens     {symbols[0]} in the sources, {symbols[1]} in the targets")
    print(f"model      {', '.join(sizes)}: {size:,} weights")
    steps = [
        f"epochs {training.epochs}",
        batch,
        f"learning rate {training.learning_rate:g} ({optimizer}, {training.schedule})",
        f"gradient norm up to {training.max_grad:g}",
        *_changes(training, said),
        f"seed {training.seed}",
    ]
    print(f"training   {', '.join(steps)}")
    print(f"computing  {backend.get_backend()} kernels, threads {backend.get_num_threads()}")
    print(f"writing    {run.folder}", flush=True)


def _changes(section: "Section", said: Sequence[str]) -> list[str]:
    """The settings that are not at their defaults, in words, without those that are said anyway."""
    kinds = dict(section.settings())
    changes = {name: kinds[name].kind.toml(value) for name, value in section.changed().items() if name not in said}
    return [name.replace("_", " ") + ("" if text == "true" else f" {text}") for name, text in changes.items()]


def _line(record: "EpochRecord", epochs: int | None) -> str:
    parts = [f"epoch {record.epoch}/{epochs}", f"loss {record.loss:.4f}"]
    if record.valid_loss is not None and record.valid_exact_match is not None:
        parts += [f"held out: loss {record.valid_loss:.4f}, exact match {record.valid_exact_match:.2%}"]
    return "  ".join([*parts, f"{record.tokens_per_second:,.0f} tokens/s", f"{record.seconds:.1f} s"])


def _saved(run: "TrainingRun") -> str:
    """What an interruption leaves."""
    history = run.history
    return f"epoch {history[-1].epoch} is saved in {run.folder}" if history else "no epoch was finished, nothing is saved"
