"""Checkups for the tests of their renderers: one of every sort of thing, a hostile one, a large one."""

from __future__ import annotations

import io
import unicodedata

from rich.console import Console

from svcdoctor.model.checkup import By, Checkup, Place, Problem, Reported, Row, Suppressed
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.trace import Verdict
from svcdoctor.report.checkup import render

HOSTILE = (
    "]]>",
    "<img src=x onerror=alert(1)> & \"quoted\" 'too'",
    "a|b\\|c",
    "```\n# heading\n- item @everyone",
    "\x00\x07\x08\x0b\x0c\x1b[31m\x7f\x85\x9b",
    "\u202egnp.\u202c\u2066x\u2069\u200b\ufeff",
    "\u2028\u2029\ufffe\uffff\ud800\udcff",
    "\r\n::error file=x::injected\r::stop-commands::y",
    "100% %0A %3A a:b,c=d",
    "\U0001f600 e\u0301 漢字",
    "[red]not markup[/red] :smile:",
)

NO_POD = Finding(
    "OBJ002",
    Severity.ERROR,
    "Selector matches no pod",
    ("Service/shop/web",),
    tuple(f"evidence number {i}" for i in range(1, 7)),
    "No pod carries all labels of the selector.",
    """kubectl -n shop patch svc web -p '{"spec":{"selector":{"app":"web"}}}'""",
    "spec.selector",
)
NODE_DOWN = Finding(
    "NOD009",
    Severity.WARNING,
    "Endpoints on a node that is not ready",
    ("Node/worker-1", "Node/worker-2"),
    ("Ready is False since the kubelet stopped",),
    "Connections to these endpoints may hang.",
    "kubectl describe node worker-1",
)
SNAT = Finding(
    "RUL021", Severity.INFO, "The application sees a node's address", ("Service/shop/api",), ("snat",), "", ""
)
REJECTED = Finding(
    "OBJ032",
    Severity.ERROR,
    "The API server would reject the object",
    ("ConfigMap/shop/settings",),
    ("data: Invalid value",),
    "Nothing of it is stored.",
    "",
    "data['a.b']",
)

ROWS = (
    Row(
        "Service",
        "shop",
        "api",
        Verdict.DEGRADED,
        ("NOD009", "RUL021"),
        "ClusterIP",
        ("80→8080/TCP",),
        (2, 3),
    ),
    Row("Service", "shop", "fine", Verdict.HEALTHY, (), "ClusterIP", ("80→8080/TCP",), (1, 1)),
    Row("Service", "shop", "murky", Verdict.UNKNOWN),
    Row("Service", "shop", "outside", Verdict.HEALTHY, (), "ExternalName"),
    Row(
        "Service",
        "shop",
        "web",
        Verdict.BROKEN,
        ("OBJ002",),
        "NodePort",
        tuple(f"{p}:3{p:04}→8080/TCP" for p in range(80, 90)),
        (0, 0),
    ),
    Row("Ingress", "shop", "front", Verdict.DEGRADED, ("NOD009",)),
    Row("NetworkPolicy", "shop", "deny", Verdict.HEALTHY),
)
ALL_SORTS = Checkup(
    "namespace shop",
    ROWS,
    (
        Reported(NO_POD, ("Service/shop/web",), Place("./deploy/web.yaml", 12)),
        Reported(REJECTED, (), Place("deploy/web.yaml", 40)),
        Reported(
            NODE_DOWN,
            ("Ingress/shop/front", "Service/shop/api", *(f"Service/shop/s{i}" for i in range(9))),
            new=False,
        ),
        Reported(SNAT, ("Service/shop/api",)),
    ),
    (
        Suppressed("OBJ025", "Service/shop/fine", By.ANNOTATION),
        Suppressed("RUL021", "Service/shop/fine", By.IGNORE),
        Suppressed("RUL021", "Service/shop/api", By.IGNORE),
        Suppressed("OBJ013", "Service/other/old", By.BASELINE),
    ),
    (
        Problem("not YAML: mapping values are not allowed here", Place("deploy/bad.yaml", 3)),
        Problem("Service/shop/web: annotation svcdoctor.io/ignore: no code 'OBJ999'"),
    ),
    (
        MissingFact("Pod (namespace shop)", "pods is forbidden", "kubectl create role x", required=True),
        MissingFact("nodes/*/rules", "not collected", "svcdoctor check --node-facts"),
        MissingFact("Ingress (all namespaces)", "the snapshot holds no ingresses", ""),
        MissingFact("Ingress (namespace shop)", "the snapshot holds no ingresses", ""),
    ),
    ("configuration: svcdoctor.toml",),
)
SOUND = Checkup("all namespaces", (ROWS[1], ROWS[3]))
NOTHING = Checkup("namespace empty", ())


def hostile() -> Checkup:
    """A checkup in which everything that others may have written is one of the hostile texts."""
    findings = tuple(
        Reported(
            Finding(
                "OBJ013", Severity.ERROR, text, (f"Service/shop/{text}",), (text, text * 9), text, text, text
            ),
            (f"Service/shop/{text}", f"Ingress/shop/{text}"),
            Place(text.replace("\x00", ""), 7),
        )
        for text in HOSTILE
    )
    rows = tuple(
        Row("Service", text, text, Verdict.BROKEN, ("OBJ013",), text, (text,), (0, 1)) for text in HOSTILE
    )
    return Checkup(
        HOSTILE[0],
        rows,
        findings,
        tuple(Suppressed("OBJ013", f"Service/{t}/{t}", By.ANNOTATION) for t in HOSTILE),
        tuple(Problem(t, Place(t, 1)) for t in HOSTILE),
        tuple(MissingFact(t, t, t, required=True) for t in HOSTILE),
        HOSTILE,
    )


def large(count: int) -> Checkup:
    """As many broken Services, each with a cause of its own, but for one that all suffer from."""
    rows = tuple(
        Row(
            "Service",
            f"ns-{i % 50}",
            f"web-{i}",
            Verdict.BROKEN,
            ("OBJ002",),
            "ClusterIP",
            ("80→8080/TCP",),
            (0, 3),
        )
        for i in range(count)
    )
    own = tuple(
        Reported(
            Finding(
                "OBJ002",
                Severity.ERROR,
                NO_POD.title,
                (r.subject,),
                ("selector app=web matches 0 of 3 pods", "app: web ≠ app: www on 3 pods"),
                NO_POD.explanation,
                f"kubectl -n {r.namespace} patch svc {r.name} -p '{{}}'",
                "spec.selector",
            ),
            (r.subject,),
            Place("rendered.yaml", i + 1),
        )
        for i, r in enumerate(rows)
    )
    common = Reported(NODE_DOWN, tuple(sorted(r.subject for r in rows)))
    return Checkup("all namespaces", rows, (*own, common))


def obeyed(text: str) -> set[str]:
    """The characters of a text, line ends aside, that a terminal obeys or that change what a reader sees."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c != "\n"}


def screen(
    checkup: Checkup, width: int = 80, *, verbose: bool = False, encoding: str = "utf-8", **options: object
) -> str:
    """What the terminal shows."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    render(checkup, Console(width=width, file=file, **options), verbose=verbose)  # type: ignore[arg-type]
    file.flush()
    return raw.getvalue().decode(encoding)
