"""EXT, OBS and NOD by what probes would meet, planted on the lab's objects; and an Ingress of the real capture."""

from cases_objects import asked
from codecases import CAPTURE, PROBES, CodeCase
from mutations import DeleteField, SetField
from observed_world import CLUSTER_IPS, NODES, PORT, TARGET, WEB, ends, entries, judged, met, snapshot

from svcdoctor.model.nodefacts import Listener
from svcdoctor.model.observed import Aim, Met, Observation, ProbeKind, Speaks

NODE, OTHERS = NODES[1].name, (NODES[0].name, NODES[2].name)
POD = next(p for p in WEB if p.node == NODE)
HEALTH = 32500
INGRESS = "web"


def tried(*observations, held=None, **how):
    return lambda: judged(*observations, held=held, **how)


def service(items):
    return next(i for i in items if (i["kind"], i["metadata"]["name"]) == ("Service", "bq-api-service-1"))


def local(items):
    """A load balancer's Service with externalTrafficPolicy Local."""
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": HEALTH}
    service(items)["spec"].update(spec)
    service(items)["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}


def health(*codes):
    """The nodes' answers on the health check port, and those of their pods on the nodePort; ``None``: refused."""
    found = []
    for node, status in zip(NODES, codes, strict=True):
        who = tuple(p.name for p in WEB if p.node == node.name)
        found += entries(node.name, who=who, cluster=False)
        for ip in (node.ip4, node.ip6):
            aim = Aim(ip, HEALTH, ProbeKind.HTTP, path="/healthz")
            what, statuses = (Met.ANSWERED, {status: 3}) if status else (Met.REFUSED, {})
            found.append(Observation(aim, met(ip, HEALTH, what).place, 3, {what: 3}, statuses=statuses))
    return [*found, *ends()]


def says(protocol):
    return snapshot(lambda items: service(items)["spec"]["ports"][0].update(appProtocol=protocol))


def provided(provider):
    """The nodes by a provider, and nodePorts that are silent from here while tunnels are answered."""

    def edit(items):
        for item in items:
            if item["kind"] == "Node":
                item["spec"]["providerID"] = provider

    return snapshot(edit)


SILENT = [
    *entries(what=Met.TIMEOUT, who=(), cluster=False),
    *(met(ip, PORT, Met.TIMEOUT) for ip in CLUSTER_IPS),
    *ends(what=Met.TIMEOUT),
]
CLOUD, KIND = provided("aws:///eu-central-1a/i-1"), provided("kind://docker/lab/x")


def refusing(*sockets, tunnel, families=(4, 6)):
    """Pods that refuse at their addresses, and the sockets that they have."""
    fine = tuple(f for f in (4, 6) if f not in families)
    return tried(
        entries(what=Met.REFUSED, who=(), families=families),
        entries(families=fine),
        ends(what=Met.REFUSED, tunnel=tunnel, families=families),
        ends(tunnel=None, families=fine),
        sockets={p.key: tuple(Listener("TCP", a, n) for a, n in sockets) for p in WEB},
    )


def answering(*sockets):
    return tried(
        entries(), ends(), sockets={p.key: tuple(Listener("TCP", a, n) for a, n in sockets) for p in WEB}
    )


def large(what):
    """Requests with 3000 bytes to one pod; small ones, and large ones to the other pods, are answered."""
    lost = [met(ip, TARGET, what, count=3, size=3000, pod=POD.key) for ip in (POD.ip4, POD.ip6)]
    rest = [
        met(ip, TARGET, Met.ANSWERED, count=3, size=3000)
        for p in WEB
        if p is not POD
        for ip in (p.ip4, p.ip6)
    ]
    part = Met.ANSWERED if what is Met.ANSWERED else {Met.ANSWERED: 40, what: 20}
    return tried(entries(), ends(), entries(what=part, size=3000), lost, rest)


SHOP = (
    SetField("Ingress", "truth", INGRESS, "spec.rules[0].http.paths[0].path", "/shop"),
    DeleteField("Ingress", "truth", INGRESS, "spec.rules[0].http.paths[1]"),
)
SOME = [
    *entries(*OTHERS, what=Met.TIMEOUT, who=(), cluster=False),
    *entries(NODE, cluster=False),
    *ends(),
]

CASES = [
    CodeCase(
        "EXT003", PROBES,
        "a node with a ready pod refuses on the healthCheckNodePort",
        tried(health("200", None, "200"), held=snapshot(local)),
        "each node answers 200", tried(health("200", "200", "200"), held=snapshot(local)),
    ),
    CodeCase(
        "EXT010", PROBES,
        "appProtocol is http, the application answers with TLS",
        tried(entries(what=Met.GARBLED, who=(), speaks=Speaks.TLS), held=says("http")),
        "it is https, and the application answers with TLS",
        tried(entries(kind=ProbeKind.TLS), held=says("https")),
    ),
    CodeCase(
        "EXT012", CAPTURE,
        "no rule of the Ingress takes the path that is asked, and it has no default backend",
        asked(*SHOP, target=f"ingress/{INGRESS}/shopping"),
        "the path lies below the rule's", asked(*SHOP, target=f"ingress/{INGRESS}/shop/ping"),
    ),
    CodeCase(
        "EXT013", PROBES,
        "kind's nodes are silent, tunnels into the pods are answered", tried(SILENT, held=KIND),
        "one node answers", tried(SOME, held=KIND),
    ),
    CodeCase(
        "EXT014", PROBES,
        "a cloud's nodes are silent, tunnels into the pods are answered", tried(SILENT, held=CLOUD),
        "one node answers", tried(SOME, held=CLOUD),
    ),
    CodeCase(
        "OBS001", PROBES,
        "one node's nodePort is silent, nothing says why",
        tried(entries(*OTHERS), entries(NODE, what=Met.TIMEOUT, who=(), cluster=False), ends()),
        "one of its 60 requests is cut after it arrived",
        tried(entries(*OTHERS), entries(NODE, what={Met.ANSWERED: 59, Met.RESET: 1}, cluster=False), ends()),
    ),
    CodeCase(
        "NOD007", PROBES,
        "small requests are answered, 3000 bytes to one pod are not", large(Met.TIMEOUT),
        "3000 bytes are answered too", large(Met.ANSWERED),
    ),
    CodeCase(
        "NOD010", PROBES,
        "the pods listen on 127.0.0.1:8080, a tunnel is answered, their addresses refuse",
        refusing(("127.0.0.1", TARGET), tunnel=Met.ANSWERED),
        "they listen on 127.0.0.1:9090 beside [::]:8080", answering(("::", TARGET), ("127.0.0.1", 9090)),
    ),
    CodeCase(
        "NOD011", PROBES,
        "the pods listen on 9090, the targetPort is 8080", refusing(("0.0.0.0", 9090), tunnel=Met.REFUSED),
        "they listen on both", answering(("::", TARGET), ("0.0.0.0", 9090)),
    ),
    CodeCase(
        "NOD015", PROBES,
        "the pods listen on 0.0.0.0, the Service has IPv6 too",
        refusing(("0.0.0.0", TARGET), tunnel=Met.ANSWERED, families=(6,)),
        "they listen on [::], which takes both", answering(("::", TARGET)),
    ),
]  # fmt: skip
