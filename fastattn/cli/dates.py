"""`fastattn dates`: the built-in corpus as a file, for those who want to see the format."""

import argparse

from .common import UserError, whole_number


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn dates`."""
    parser = commands.add_parser(
        "dates",
        help="write the built-in corpus of dates to a file",
        description="Write the built-in corpus to a file: dates as people write them, a tab, the date as YYYY-MM-DD. "
        "With the default size and seed it is what `fastattn train` trains on; its last tenth is what it holds out.",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--size", type=whole_number(1), default=50_000, metavar="N", help="how many pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="S", help="another seed, other pairs (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the corpus."""
    from fastattn.data import date_pairs, write_pairs
    from fastattn.data.words import counted

    try:
        pairs = date_pairs(arguments.size, arguments.seed)
    except ValueError as error:
        raise UserError(str(error)) from error
    write_pairs(arguments.out, pairs)
    print(f"{counted(len(pairs), 'pair')} written to {arguments.out}")
