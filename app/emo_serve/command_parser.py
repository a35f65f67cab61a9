"""The command line of emo-serve; imports nothing that takes time."""

import argparse
from pathlib import Path

from emo_serve.offline.arguments import (
    add_batch_arguments,
    add_doctor_arguments,
    add_mcp_arguments,
    add_models_arguments,
    add_predict_arguments,
    add_promote_arguments,
    add_rollout_arguments,
)
from emo_serve.onnx_import.options import add_arguments
from emo_serve.version import installed_version


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands; options that are settings are None where they are not given."""
    parser = argparse.ArgumentParser(
        prog="emo-serve", description="Serve image classifiers and object detectors over HTTP."
    )
    parser.add_argument("--version", action="version", version=f"emo-serve {installed_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser(
        "serve",
        help="run the server",
        description="Options win over EMO_* variables; `emo-serve settings` lists those.",
    )
    serve.add_argument("--host", help="address to listen on (EMO_HOST)")
    serve.add_argument("--port", type=int, help="TCP port, 0 for any free one (EMO_PORT)")
    serve.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    serve.add_argument("--workers", type=int, help="processes that answer (EMO_WORKERS)")
    serve.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="(EMO_LOG_LEVEL)")
    serve.add_argument(
        "--no-tune", dest="tune", action="store_const", const=False, help="measure nothing at start (EMO_TUNE=false)"
    )
    adding = commands.add_parser(
        "add",
        help="add an ONNX classifier or detector to the model repository",
        description="Recognises what the graph wants and gives, wraps it so that the server can serve it, tries it on "
        "a picture and writes <models>/<name>/<version>. What is recognised is said, with the option that mends it.",
    )
    add_arguments(adding)
    adding.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    predicting = commands.add_parser(
        "predict",
        help="classify pictures, or find objects in them, without a server",
        description="Prints the answer about each picture, in the order in which they are named. The exit code is 3 if "
        "one of them cannot be answered.",
    )
    add_predict_arguments(predicting)
    batching = commands.add_parser(
        "batch",
        help="the same for folders of any size, in all cores, into files",
        description="Writes a row for each picture, with an error where there is no answer, into files of --shard-size "
        "rows. Run again with the same options, it computes the files that are missing. Ctrl-C or SIGTERM lets those "
        "that were begun be finished.",
    )
    add_batch_arguments(batching)
    add_models_arguments(commands.add_parser("models", help="list the models of the repository, or show one"))
    add_promote_arguments(
        commands.add_parser(
            "promote",
            help="let a version that was tried by a split or as a shadow answer all requests of its alias",
            description="Changes <models>/<name>/serving.json in one step; the split and the shadow of the alias end.",
        )
    )
    add_doctor_arguments(
        commands.add_parser(
            "doctor",
            help="say what is slow or wrong on this machine",
            description="Checks cores, instructions, memory, limits, versions, the port and every model. The exit code "
            "is 1 if something is wrong.",
        )
    )
    add_mcp_arguments(
        commands.add_parser(
            "mcp",
            help="give an assistant tools that ask a running server (Model Context Protocol)",
            description="Serves one assistant on standard input and output, with the tools classify, detect and "
            "list_models. Needs pip install 'emo-client[mcp]'; the server's key is in EMO_CLIENT_API_KEY.",
        )
    )
    measure = commands.add_parser(
        "tune",
        help="measure how the models run best here",
        description="Measures each model as a start would, prints what was measured and chosen, and remembers the "
        "choice for the next start. EMO_* variables that are set are fixed, and only the rest is searched.",
    )
    measure.add_argument("--models", type=Path, metavar="DIR", help="folder of the model repository (EMO_MODELS)")
    measure.add_argument(
        "--goal", dest="tune_goal", choices=("throughput", "latency"), help="what to be best for (EMO_TUNE_GOAL)"
    )
    measure.add_argument("--full", action="store_true", help="measure every setting at length: minutes, not seconds")
    measure.add_argument("--json", action="store_true", help="print JSON")
    signing = commands.add_parser(
        "sign",
        help="sign versions of models, for servers that require it (EMO_REQUIRE_SIGNATURE)",
        description="Writes model.sig, as OpenSSF Model Signing has it, into each folder. Needs pip install "
        "'emo-serve[signing]'.",
    )
    signing.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="<models>/<name>/<version>")
    signing.add_argument("--key", type=Path, required=True, help="PEM file of a private key: P-256, P-384 or P-521")
    signing.add_argument(
        "--certificate",
        dest="certificates",
        action="append",
        type=Path,
        default=[],
        help="PEM file: first that of the key, then those up to the root",
    )
    add_rollout_arguments(
        commands.add_parser(
            "rollout",
            help="have all replicas serve a version, one after another, or none of them",
            description="Has each server load the version and try it. The first that cannot ends the command, and "
            "those before it stop serving it. At the end all serve the same content, which its digest shows.",
        )
    )
    keys = commands.add_parser("key", help="make an API key").add_subparsers(dest="action", required=True)
    new = keys.add_parser(
        "new",
        help="make a key for a name, and let it in",
        description="Prints the key and adds its digest to the file of API keys, which a running server reads again.",
    )
    new.add_argument("name", metavar="NAME", help="who asks with it: the client that takes turns, and in the log")
    new.add_argument(
        "--file", dest="api_keys_file", type=Path, help="file of API keys, made where there is none (EMO_API_KEYS_FILE)"
    )
    commands.add_parser("settings", help="list every setting with its default")
    completing = commands.add_parser(
        "completion",
        help="print a script that completes this command in a shell",
        description='Evaluated where the shell starts, as in: eval "$(emo-serve completion bash)" in .bashrc or, with '
        "zsh, after compinit in .zshrc; emo-serve completion fish | source in config.fish.",
    )
    completing.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose syntax the script has")
    return parser
