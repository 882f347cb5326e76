"""`fastattn evaluate`: how often a trained model is right."""

import argparse
import json

from .common import UserError, choose_computing
from .reading import UnknownSymbols, add_reading, add_unknown, chosen_reading


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn evaluate`."""
    parser = commands.add_parser(
        "evaluate",
        help="compare a model's answers with the right ones",
        description="Translate the sources of a file of pairs and compare the answers with the targets. "
        "Exact match: the part of the answers that are right in every token. Token error rate: the insertions, "
        "deletions and replacements that would make the answers right, over the tokens of the targets.",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the model, as written by `fastattn train`")
    parser.add_argument(
        "pairs",
        metavar="PAIRS.tsv",
        help="one pair a line, in the columns that the model was trained on; UTF-8, gzip; - for standard input",
    )
    add_unknown(parser)
    add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, with rates from 0 to 1")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints the counts and the rates."""
    from fastattn.data import PairsFile
    from fastattn.training import SourceError, load, score

    choose_computing()
    translator = load(arguments.folder)
    file = PairsFile.read(arguments.pairs, chosen_reading(arguments, translator.reading))
    pairs = file.pairs
    try:
        answers = translator.translate([source for source, _ in pairs], unknown=arguments.unknown)
    except SourceError as error:
        raise UserError(f"{arguments.pairs}:{file.lines[error.index]}: {error}") from error
    unknown = UnknownSymbols(translator)
    unknown.count(dict(pairs))  # each source once
    unknown.say()
    tokenize = translator.target_vocabulary.tokenize
    result = score([tokenize(answer) for answer in answers], [tokenize(target) for _, target in pairs])
    if arguments.json:
        figures = {
            "pairs": result.pairs,
            "unknown_sources": unknown.sources,
            "exact_matches": result.exact_matches,
            "exact_match": result.exact_match,
            "reference_tokens": result.reference_tokens,
            "token_errors": result.token_errors,
            "token_error_rate": result.token_error_rate,
        }
        print(json.dumps(figures))
        return
    print(f"pairs             {result.pairs:,}")
    print(f"exact match       {result.exact_match:.2%} ({result.exact_matches:,} of {result.pairs:,})")
    errors = f"{result.token_errors:,} errors in {result.reference_tokens:,} tokens"
    print(f"token error rate  {result.token_error_rate:.2%} ({errors})")
