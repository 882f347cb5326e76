"""`fastattn export`: a trained model for other runtimes."""

import argparse

from .common import UserError, choose_computing


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn export`."""
    parser = commands.add_parser(
        "export",
        help="write a model for other runtimes",
        description="Write the model as graphs of ONNX, which run without fastattn: OUT/encoder.onnx, OUT/decoder_step.onnx, "
        "and OUT/greedy.onnx, which gives whole answers. Vocabularies and settings stand in their metadata and in "
        "OUT/about.json. Needs onnx: pip install 'fastattn[onnx]'.",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of the model, as written by `fastattn train`")
    parser.add_argument("--onnx", required=True, metavar="OUT", help="the folder to write to, a new one where there is none")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Prints the files that were written."""
    from fastattn.interop.onnx import export
    from fastattn.training import load

    choose_computing()
    translator = load(arguments.folder)
    try:
        paths = export(translator, arguments.onnx)
    except ValueError as error:
        raise UserError(f"{arguments.folder}: {error}") from error
    for path in paths:
        print(path)
