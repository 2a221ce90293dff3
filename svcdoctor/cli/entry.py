"""Where the program begins, before anything of it is imported: what Python this is, and by which name it was called.

Completion goes by another way than commands, because it must not import Typer: it is waited for at every Tab. This
module is written so that an old Python 3 can read it.
"""

import sys

OLDEST = (3, 11)
COMPLETE = "__complete"
"""The hidden command that shells and kubectl's completion plugin call."""

PLUGIN = "kubectl_complete-"
"""What kubectl 1.26 and newer put before a plugin's name to ask for completions."""


def main() -> None:
    if sys.version_info < OLDEST:  # pip refuses to install it there, copied files do not
        sys.exit(
            "svcdoctor: error: Python %d.%d is needed or newer; this is %d.%d, %s"  # noqa: UP031
            % (OLDEST + sys.version_info[:2] + (sys.executable or "",))
        )
    called = sys.argv[0].replace("\\", "/").rpartition("/")[2]
    if called.startswith(PLUGIN):
        _complete(sys.argv[1:])
    elif sys.argv[1:2] == [COMPLETE]:
        _complete(sys.argv[2:])
    else:
        from svcdoctor.cli.main import main as run

        run()


def _complete(words: "list[str]") -> None:
    import gc

    gc.disable()  # the process ends before there is anything to collect
    # dataclasses imports it for classes without a docstring, and it takes a tenth of the time of an answer.
    _defer("inspect")
    from svcdoctor.cli.completing import main as complete

    complete(words)


def _defer(name: str) -> None:
    """Has a module imported no sooner than something of it is used."""
    from types import ModuleType

    stand_in = ModuleType(name)

    def real(attribute: str) -> object:
        from importlib import import_module

        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in.__dict__["__getattr__"] = real
    sys.modules.setdefault(name, stand_in)


if __name__ == "__main__":
    main()
