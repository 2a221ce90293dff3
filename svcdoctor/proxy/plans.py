"""What ``forward`` is to do, from the command line's words or from a file.

The file is YAML: ``forwards`` is a list of ``target``, ``ports`` and, where they differ from the command's options,
``namespace``, ``address``, ``balance`` and ``allPods``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.arguments import ListenAddress, parse_addresses, parse_forward_target, parse_port
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.forwarder import Plan

MAX_FILE = 1 << 20


class _Forward(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    target: str
    ports: list[int | str]
    namespace: str = ""
    address: list[str] = []
    balance: str = ""
    all_pods: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    forwards: list[_Forward]


def plans_of_words(
    words: Sequence[str],
    namespace: str,
    addresses: tuple[ListenAddress, ...],
    balance: BalancerPolicy | None,
    all_pods: bool,
) -> list[Plan]:
    """A plan for each target and the ports after it. The first word is a target; later ones are where they have a
    type (``svc/NAME``). Raises SvcdoctorError."""
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        if not groups or _has_type(word):
            groups.append((word, []))
        else:
            groups[-1][1].append(word)
    plans = []
    for target, ports in groups:
        named = parse_forward_target(target)
        if not ports:
            raise SvcdoctorError(f"{target}: which port? say {target} REMOTE or {target} LOCAL:REMOTE")
        requests = tuple(dict.fromkeys(map(parse_port, ports)))
        plans.append(Plan(named, namespace, requests, addresses, balance, all_pods))
    return plans


def _has_type(word: str) -> bool:
    """Whether a word is a target: a port may also have a slash, before its protocol."""
    first, slash, last = word.partition("/")
    return bool(slash) and last not in ("tcp", "udp") and not first.replace(":", "").isdecimal()


def plans_of_file(
    path: Path,
    namespace: str,
    addresses: tuple[ListenAddress, ...],
    balance: BalancerPolicy | None,
    all_pods: bool,
) -> list[Plan]:
    """The plans of a file. Raises SvcdoctorError naming it and what is wrong with it."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise SvcdoctorError(f"{path}: larger than {MAX_FILE >> 20} MiB")
    try:
        held = msgspec.convert(yaml.safe_load(data), _File)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = f"{path} line {mark.line + 1}" if mark is not None else str(path)
        raise SvcdoctorError(
            f"{where}: not YAML: {getattr(e, 'problem', None) or 'it cannot be read'}"
        ) from None
    except (msgspec.ValidationError, RecursionError, UnicodeDecodeError) as e:
        raise SvcdoctorError(f"{path}: {e}; forwards is a list of target and ports") from None
    plans = []
    for number, entry in enumerate(held.forwards, 1):
        try:
            plans.append(
                Plan(
                    parse_forward_target(entry.target),
                    entry.namespace or namespace,
                    tuple(dict.fromkeys(parse_port(str(port)) for port in entry.ports)),
                    parse_addresses(entry.address) if entry.address else addresses,
                    BalancerPolicy(entry.balance) if entry.balance else balance,
                    entry.all_pods or all_pods,
                )
            )
        except SvcdoctorError as e:
            raise SvcdoctorError(f"{path}, forward {number}: {e.message}") from None
        except ValueError:
            names = ", ".join(p.value for p in BalancerPolicy)
            raise SvcdoctorError(
                f"{path}, forward {number}: balance {entry.balance!r} is none of {names}"
            ) from None
        if not entry.ports:
            raise SvcdoctorError(f"{path}, forward {number}: {entry.target} has no ports")
    return plans
