"""The commands and their options; what they do is in a file each."""

import functools
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from lvlmscope import __version__
from lvlmscope.cli.commands.compare import compare
from lvlmscope.cli.commands.evaluate import evaluate
from lvlmscope.cli.commands.power import power
from lvlmscope.cli.commands.sweep import sweep
from lvlmscope.cli.commands.train import train_app
from lvlmscope.cli.completion import complete_intervention
from lvlmscope.cli.library_progress import quieten
from lvlmscope.cli.loaded_files import Load, load_files
from lvlmscope.cli.option_limits import MAX_SEED, MapMethod
from lvlmscope.cli.progress import stages
from lvlmscope.cli.sentences import SentenceGroup, sentence
from lvlmscope.errors import LvlmscopeError, ModelInputError, message
from lvlmscope.models.torchvision_check import blame_torchvision

__all__ = ["app", "main"]

_PACKAGE: Final = Path(__file__).resolve().parents[1]

app = typer.Typer(
    name="lvlmscope",
    cls=SentenceGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; files of the same name are replaced.")]
Interventions = Annotated[
    list[str] | None,
    typer.Option(help="Such as dleaf:gamma=0.5; several act in order.", autocompletion=complete_intervention),
]
app.add_typer(train_app, name="train")
app.command(name="eval")(evaluate)
app.command()(compare)
app.command()(power)
app.command()(sweep)


def _print_version(requested: bool) -> bool:
    if requested:
        typer.echo(f"lvlmscope {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """See why a vision-language model hallucinated."""


@app.command()
def demo(
    out: Out = Path("lvlmscope-demo"),
    image: Annotated[str, typer.Option(help="Number of a bundled image (0 to 7), or an image file of your own.")] = "0",
) -> None:
    """Traces the bundled model on an image about which it hallucinates, then switches an intervention on."""
    with stages(shown=True):
        quieten()
        from lvlmscope.cli.commands.demo import run_demo

    run_demo(out, image)


@app.command()
def trace(  # noqa: PLR0917 - typer reads options from parameters
    image: Annotated[str, typer.Argument(help="Image file, or an http(s) URL.")],
    prompt: Annotated[str, typer.Argument(help="Question or instruction.")],
    model: Annotated[str, typer.Option(help="'tiny', a folder, or a hub id.")] = "tiny",
    dtype: Annotated[str, typer.Option(help="Such as bfloat16; 'auto' takes the files' own.")] = "auto",
    device_map: Annotated[str | None, typer.Option(help="Such as 'auto' to use the GPUs; without it the CPU.")] = None,
    answer: Annotated[str | None, typer.Option(help="Trace this answer instead of a generated one.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length allowed to the answer.")] = 128,
    gradients: Annotated[bool, typer.Option(help="Keep the gradient of every token's loss to the attention.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="Seed of sampling, where the model or an intervention samples."),
    ] = None,
    intervention: Interventions = None,
    load: Load = None,
    compare: Annotated[bool, typer.Option(help="With an intervention: trace without it too, for the report.")] = True,
    out: Out = Path("lvlmscope-trace"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Traces a model's answer about an image; writes the trace, its figures and a report."""
    with stages(shown=not as_json):
        quieten()
        load_files(load)
        from lvlmscope.cli.commands.trace import run_trace
        from lvlmscope.cli.intervention_syntax import parse_intervention

    options: dict[str, Any] = {"gradients": gradients, "seed": seed}
    options |= {"max_new_tokens": max_new_tokens} if answer is None else {"answer": answer}
    options["interventions"] = [parse_intervention(each) for each in intervention or []]
    loading = {"source": model, "dtype": dtype, "device_map": device_map}
    run_trace(image, prompt, out, loading=loading, as_json=as_json, compare=compare, options=options)


@app.command()
def report(  # noqa: PLR0917 - typer reads options from parameters
    trace: Annotated[Path, typer.Argument(help="Trace file (.safetensors).")],
    compare: Annotated[
        Path | None, typer.Option(help="Second trace file of the same prompt, such as with an intervention on.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML file to write; an existing one is replaced.")] = Path(
        "case.html"
    ),
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Attention on the image, word by word",
    hallucinated: Annotated[
        list[str] | None, typer.Option(help="Word of the answer, or number of a step, to mark; repeatable.")
    ] = None,
    grounded: Annotated[list[str] | None, typer.Option(help="Likewise, of grounded words.")] = None,
    maps: Annotated[
        list[MapMethod] | None,
        typer.Option(help="Compute maps of the marked words, or of all, with --model; repeatable."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model that made the traces: 'tiny', a folder, or a hub id; for more evidence."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Such as bfloat16; 'auto' takes the files' own.")] = "auto",
    device_map: Annotated[str | None, typer.Option(help="Such as 'auto' to use the GPUs; without it the CPU.")] = None,
    diagnosis: Annotated[bool, typer.Option(help="Diagnose the traces.")] = True,
    load: Load = None,
) -> None:
    """Writes one HTML file to look through a trace word by word, without server or network."""
    with stages(shown=True):
        quieten()
        load_files(load)
        from lvlmscope.cli.commands.report import run_report

    marks = {"hallucinated": hallucinated or (), "grounded": grounded or ()}
    loading = None if model is None else {"source": model, "dtype": dtype, "device_map": device_map}
    run_report(trace, compare, out, title, marks=marks, maps=maps or (), loading=loading, diagnosis=diagnosis)


@app.command("app")
def app_command(  # noqa: PLR0917 - typer reads options from parameters
    model: Annotated[str, typer.Option(help="'tiny', a folder, or a hub id.")] = "tiny",
    dtype: Annotated[str, typer.Option(help="Such as bfloat16; 'auto' takes the files' own.")] = "auto",
    device_map: Annotated[str | None, typer.Option(help="Such as 'auto' to use the GPUs; without it the CPU.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    gradients: Annotated[bool, typer.Option(help="Keep the gradient of every token's loss, for saliency.")] = False,
    load: Load = None,
) -> None:
    """Serves a page on this computer: choose an image, ask, look through the answer, switch interventions on."""
    with stages(shown=True):
        quieten()
        load_files(load)
        from lvlmscope.cli.commands.app import run_app

    loading = {"source": model, "dtype": dtype, "device_map": device_map}
    run_app(port, loading=loading, browser=browser, gradients=gradients)


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of a table.")] = False,
) -> None:
    """Lists the installed transformers' vision-language models: verified, generic, or unsupported and why."""
    from lvlmscope.cli.commands.models import run_models

    run_models(as_json=as_json)


@app.command()
def interventions(
    name: Annotated[
        str | None,
        typer.Argument(
            help="One intervention, in any letter case; all when left out.", autocompletion=complete_intervention
        ),
    ] = None,
    load: Load = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of text.")] = False,
) -> None:
    """Lists the interventions: paper, what is the paper's and what is our reading, parameters, cost."""
    load_files(load)
    from lvlmscope.cli.commands.interventions import run_interventions

    run_interventions(name, as_json=as_json)


@app.command()
def signals(
    load: Load = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of text.")] = False,
) -> None:
    """Lists the signals read at words: what each is read from, what it needs, and which values are suspicious."""
    load_files(load)
    from lvlmscope.cli.commands.signals import run_signals

    run_signals(as_json=as_json)


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", hidden=True)] = None,
    model: Annotated[str | None, typer.Option(help="'tiny', a folder, or a hub id; 'tiny' when left out.")] = None,
    load: Load = None,
) -> None:
    """Checks numerically that a model's rows can be trusted; exit code 1 when they cannot."""
    if None not in (name, model) and name != model:
        got = f"{name!r} and --model {model!r}"
        raise ModelInputError(message(got, "one model", "name it with --model alone", task="check a model"))
    with stages(shown=True) as stage:
        quieten()
        load_files(load)
        from lvlmscope.cli.console import console
        from lvlmscope.verification.loading import load as load_model
        from lvlmscope.verification.self_check import check as check_model

        loaded = load_model(model or name or "tiny", check=False)
        stage.begin("checking")
        found = check_model(loaded)
    console.print(repr(found), soft_wrap=True, highlight=False)
    if not found.passed:
        raise typer.Exit(1)


def _show_warning(usual: Callable[..., None], text: Warning | str, category: type[Warning], *place: Any) -> None:
    """A warning of this package in one line, as its errors are; others as usual."""
    if category is UserWarning and Path(place[0]).is_relative_to(_PACKAGE):
        sys.stderr.write(f"lvlmscope: warning: {sentence(text)}\n")
    else:
        usual(text, category, *place)


def main() -> None:
    """Runs the command line; an error of the user's input is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a character that an encoding lacks is written as its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
    try:
        with blame_torchvision():
            app()
    except LvlmscopeError as error:
        sys.stderr.write(f"lvlmscope: {sentence(error)}\n")
        sys.exit(2)
    except OSError as error:  # a full disk, a name that is too long, a file that another process removed
        named = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"lvlmscope: {sentence(f'read or write a file: {error.strerror or error}{named}')}\n")
        sys.exit(2)
