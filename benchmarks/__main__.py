"""``python -m benchmarks NAME [--quick] [--json]``: one benchmark, or all names without one.

Each measures ours and the plain implementation in the same run and gives their ratio. ``house`` measures the source.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from benchmarks.records import print_records
from interlat.errors import InputError, InterlatError

TITLES = {
    "engine": "engine against the plain transformers loop",
    "engines": "vLLM against the reference engine",
    "llama-cpp": "engine against llama.cpp and generate",
    "int8": "weights of int8 against float32 and bfloat16",
    "store": "latent store against nested lists in a data set",
    "collect": "collection against one prompt at a time",
    "train-step": "training step against three padded passes",
    "compress": "compression step against one sample after the other",
    "sender": "8 latents against writing a plan",
    "team": "a team that thinks against the plain loop",
    "evaluation": "evaluating a pair against one episode at a time, read again each turn",
    "world": "cached ALFWorld engine against the stock one",
    "house": "lines of the source, and the concepts that exist once",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one benchmark; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=TITLES, metavar="NAME", help=", ".join(TITLES))
    parser.add_argument("--quick", action="store_true", help="end within 45 seconds on two cores")
    parser.add_argument("--json", action="store_true", help="one JSON line a case and metric on stdout")
    parser.add_argument("--device", default="", help="engine: where to compute, such as cuda; by default what there is")
    parser.add_argument("--output", default="", help="sender: folder for a picture of the ratio")
    options = parser.parse_args(words)
    module = importlib.import_module(f"benchmarks.{options.name.replace('-', '_')}")
    try:
        if options.name == "house":
            module.report(options.json)
            return 0
        if options.device and options.name != "engine":
            raise InputError(f"--device {options.device} is for the benchmark engine; leave it out for {options.name}")
        given = {"device_name": options.device} if options.device else {}
        records = print_records(module.run(options.quick, **given), TITLES[options.name], options.json)
    except InterlatError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.output and options.name == "sender":
        from benchmarks.sender_figure import plot_sender

        for path in plot_sender(records, options.output):
            print(path, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
