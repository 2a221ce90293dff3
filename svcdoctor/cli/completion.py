"""``svcdoctor completion``: the script that has a shell ask for completions."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

SCRIPTS = Path(__file__).with_name("shells")
PLUGIN = "kubectl-svcdoctor"
COMPLETER = "kubectl_complete-svcdoctor"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


FILES = {
    Shell.BASH: "bash/svcdoctor",
    Shell.ZSH: "zsh/_svcdoctor",
    Shell.FISH: "fish/svcdoctor.fish",
    Shell.POWERSHELL: "powershell/svcdoctor.ps1",
}


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)],
) -> None:
    """Print the script that has a shell complete svcdoctor's commands, flags, names and ports.

    bash, in ~/.bashrc: source <(svcdoctor completion bash)

    zsh, in ~/.zshrc after compinit: source <(svcdoctor completion zsh)

    fish: svcdoctor completion fish > ~/.config/fish/completions/svcdoctor.fish

    PowerShell, in $PROFILE: svcdoctor completion powershell | Out-String | Invoke-Expression

    What kubectl svcdoctor completes, kubectl's own completion asks the program kubectl_complete-svcdoctor, which must
    be on PATH beside kubectl-svcdoctor; kubectl does so from 1.26 on.

    Exit codes: 0 printed; 2 bad usage.
    """
    print((SCRIPTS / FILES[shell]).read_text(encoding="utf-8"), end="")
    sys.stdout.flush()
    # A shell that starts reads a pipe, and must not say the same every time.
    if not stat.S_ISFIFO(os.fstat(1).st_mode) and sys.stderr.isatty() and (missing := _missing()):
        print(f"note: {missing}", file=sys.stderr)


def _missing() -> str:
    """What keeps kubectl from finding the plugin or its completions, and what to do; empty where nothing does."""
    lacking = [program for program in (PLUGIN, COMPLETER) if shutil.which(program) is None]
    if not lacking or shutil.which("kubectl") is None:
        return ""
    own = Path(sys.argv[0]).absolute().parent
    what = " and ".join(lacking)
    do = f"add {own} to PATH" if all((own / program).exists() for program in lacking) else "put them there"
    return f"kubectl does not find {what} on PATH: {do}"
