"""The clusters of fixtures/faults as plain objects, to be changed, and what a check then says of them."""

import copy
from functools import cache

import yaml
from faultpairs import FAULTS, question
from ordinary_world import snapshot_of

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.request import Request
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target


@cache
def _read(code, which):
    with (FAULTS / code / f"{which}.yaml").open() as file:
        return list(yaml.load_all(file, yaml.CSafeLoader))


def objects(code, which="healthy"):
    """The objects of a cluster, free to change."""
    return copy.deepcopy(_read(code, which))


def one(held, kind, name):
    """The object whose name is, or begins with, ``name``."""
    return next(o for o in held if o["kind"] == kind and o["metadata"]["name"].startswith(name))


def found(code, held, asked=None):
    """The findings with this code, of the question of the code's fixture."""
    q = question(code)
    client = parse_client(asked or q["from"]) if asked or q["from"] else None
    answer = answer_once(
        snapshot_of(held), Request(parse_target(q["target"], q["namespace"]), client), q["namespace"]
    )
    return [f for f in answer.findings if f.code == code]
