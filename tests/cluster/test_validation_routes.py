"""Ingress, HTTPRoute, NetworkPolicy and EndpointSlice: every rule, in its words, and the near miss that is taken."""

import pytest
from refusing import refused, warned

INCLUSIVE = "must be between 1 and 65535, inclusive"
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
WILDCARD = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
B = "backend: {service: {name: web, port: {number: 80}}}"


def rule(path, host=""):
    return f"rules: [{{{f'host: {host}, ' if host else ''}http: {{paths: [{{{path}}}]}}}}]"


OK = f"path: /, pathType: Prefix, {B}"
AT = "rules[0].http.paths[0]"
INGRESS = [
    ("ingressClassName: nginx", "", "Invalid value: null: either `defaultBackend` or `rules` must be specified",
     "defaultBackend: {service: {name: web, port: {number: 80}}}"),
    (rule(f"path: /, {B}"), f"{AT}.pathType", "Required value: pathType must be specified", rule(OK)),
    (rule(f"path: /, pathType: prefix, {B}"), f"{AT}.pathType",
     'Unsupported value: "prefix": supported values: "Exact", "ImplementationSpecific", "Prefix"',
     rule(f"path: /, pathType: ImplementationSpecific, {B}")),
    (rule(f"path: api, pathType: Prefix, {B}"), f"{AT}.path", 'Invalid value: "api": must be an absolute path',
     rule(f"path: /api, pathType: Prefix, {B}")),
    (rule(f"pathType: Exact, {B}"), f"{AT}.path", 'Invalid value: "": must be an absolute path',
     rule(f"pathType: ImplementationSpecific, {B}")),
    (rule(f"path: 'api/*', pathType: ImplementationSpecific, {B}"), f"{AT}.path",
     'Invalid value: "api/*": must be an absolute path',
     rule(f"path: '/api/*', pathType: ImplementationSpecific, {B}")),
    (rule(f"path: /a//b, pathType: Prefix, {B}"), f"{AT}.path", 'Invalid value: "/a//b": must not contain \'//\'',
     rule(f"path: /a//b, pathType: ImplementationSpecific, {B}")),
    (rule(f"path: /a/.., pathType: Exact, {B}"), f"{AT}.path", 'Invalid value: "/a/..": cannot end with \'/..\'',
     rule(f"path: /a/..., pathType: Exact, {B}")),
    ("rules: [{http: {paths: []}}]", "rules[0].http.paths", "Required value", "rules: [{host: a.example.com}]"),
    (rule("path: /, pathType: Prefix, backend: {}"), f"{AT}.backend",
     'Invalid value: "": resource or service backend is required', rule(OK)),
    (rule("path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}, "
          "resource: {kind: Bucket, name: a}}"), f"{AT}.backend",
     'Invalid value: "": cannot set both resource and service backends',
     rule("path: /, pathType: Prefix, backend: {resource: {kind: Bucket, name: a}}")),
    (rule("path: /, pathType: Prefix, backend: {resource: {kind: Bucket}}"), f"{AT}.backend.resource.name",
     "Required value", rule("path: /, pathType: Prefix, backend: {resource: {kind: Bucket, name: a}}")),
    (rule("path: /, pathType: Prefix, backend: {service: {port: {number: 80}}}"), f"{AT}.backend.service.name",
     "Required value", rule(OK)),
    (rule("path: /, pathType: Prefix, backend: {service: {name: shop/web, port: {number: 80}}}"),
     f"{AT}.backend.service.name", f'Invalid value: "shop/web": {LABEL}', rule(OK)),
    (rule("path: /, pathType: Prefix, backend: {service: {name: web}}"), f"{AT}.backend",
     "Required value: port name or number is required",
     rule("path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}")),
    (rule("path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http, number: 80}}}"),
     f"{AT}.backend", 'Invalid value: "": cannot set both port name & port number', rule(OK)),
    (rule("path: /, pathType: Prefix, backend: {service: {name: web, port: {name: '80'}}}"),
     f"{AT}.backend.service.port.name", 'Invalid value: "80": must contain at least one letter (a-z)', rule(OK)),
    (rule("path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 65536}}}"),
     f"{AT}.backend.service.port.number", f"Invalid value: 65536: {INCLUSIVE}", rule(OK)),
    (rule(OK, "192.0.2.1"), "rules[0].host", 'Invalid value: "192.0.2.1": must be a DNS name, not an IP address',
     rule(OK, "192.0.2.1.example.com")),
    (rule(OK, "'a.example.com:443'"), "rules[0].host", f'Invalid value: "a.example.com:443": {SUBDOMAIN}',
     rule(OK, "a.example.com")),
    (rule(OK, "'*'"), "rules[0].host", f'Invalid value: "*": {WILDCARD}', rule(OK, "'*.example.com'")),
    (rule(OK, "a.*.example.com"), "rules[0].host", f'Invalid value: "a.*.example.com": {WILDCARD}', rule(OK)),
    (f"tls: [{{hosts: [A.example.com]}}], {rule(OK)}", "tls[0].hosts[0]",
     f'Invalid value: "A.example.com": {SUBDOMAIN}', f"tls: [{{hosts: [a.example.com]}}], {rule(OK)}"),
    (f"tls: [{{secretName: my_tls}}], {rule(OK)}", "tls[0].secretName", f'Invalid value: "my_tls": {SUBDOMAIN}',
     f"tls: [{{secretName: my.tls}}], {rule(OK)}"),
    (f"ingressClassName: Nginx, {rule(OK)}", "ingressClassName", f'Invalid value: "Nginx": {SUBDOMAIN}',
     f"ingressClassName: nginx, {rule(OK)}"),
]  # fmt: skip


def named(rows, spec):
    return [(row[0], f"{spec}.{row[1]}" if row[1] else spec, *row[2:]) for row in rows]


@pytest.mark.parametrize(("spec", "field", "words", "twin"), named(INGRESS, "spec"))
def test_ingress(spec, field, words, twin):
    assert (field, words) in refused("Ingress", f"spec: {{{spec}}}")
    assert {f for f, _ in refused("Ingress", f"spec: {{{spec}}}")} == {field}
    assert refused("Ingress", f"spec: {{{twin}}}") == []


def test_ingress_class_said_twice():
    metadata = "{name: web, annotations: {kubernetes.io/ingress.class: traefik}}"
    field = "metadata.annotations['kubernetes.io/ingress.class']"
    words = 'Invalid value: "traefik": must match `ingressClassName` when both are specified'
    assert refused("Ingress", f"spec: {{ingressClassName: nginx, {rule(OK)}}}", metadata) == [(field, words)]
    assert refused("Ingress", f"spec: {{ingressClassName: traefik, {rule(OK)}}}", metadata) == []


def test_a_url_as_host_is_mended():
    ((_, _, fix),) = warned("Ingress", f"spec: {{{rule(OK, 'https://a.example.com/x')}}}")
    assert fix == "host: a.example.com"


R = "backendRefs: [{name: web, port: 80}]"
HTTP_ROUTE = [
    (f"hostnames: [A.example.com], rules: [{{{R}}}]", "hostnames[0]",
     'Invalid value: "A.example.com": spec.hostnames[0] in body should match \'^(\\*\\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?'
     "(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'", f"hostnames: ['*.example.com'], rules: [{{{R}}}]"),
    (f"parentRefs: [{{namespace: infra}}], rules: [{{{R}}}]", "parentRefs[0].name", "Required value",
     f"parentRefs: [{{name: gate}}], rules: [{{{R}}}]"),
    ("rules: [{backendRefs: [{name: web}]}]", "rules[0].backendRefs[0]",
     'Invalid value: "object": Must have port for Service reference',
     "rules: [{backendRefs: [{group: example.com, kind: Bucket, name: web}]}]"),
    ("rules: [{backendRefs: [{port: 80}]}]", "rules[0].backendRefs[0].name", "Required value", f"rules: [{{{R}}}]"),
    ("rules: [{backendRefs: [{name: web, port: 70000}]}]", "rules[0].backendRefs[0].port",
     "Invalid value: 70000: port in body should be less than or equal to 65535", f"rules: [{{{R}}}]"),
    ("rules: [{backendRefs: [{name: web, port: 80, weight: -1}]}]", "rules[0].backendRefs[0].weight",
     "Invalid value: -1: weight in body should be greater than or equal to 0",
     "rules: [{backendRefs: [{name: web, port: 80, weight: 0}]}]"),
    (f"rules: [{{matches: [{{path: {{type: Prefix, value: /a}}}}], {R}}}]", "rules[0].matches[0].path.type",
     'Unsupported value: "Prefix": supported values: "Exact", "PathPrefix", "RegularExpression"',
     f"rules: [{{matches: [{{path: {{type: PathPrefix, value: /a}}}}], {R}}}]"),
    (f"rules: [{{matches: [{{path: {{value: a}}}}], {R}}}]", "rules[0].matches[0].path.value",
     "Invalid value: \"a\": value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
     f"rules: [{{matches: [{{path: {{type: RegularExpression, value: a}}}}], {R}}}]"),
    (f"rules: [{{matches: [{{method: get}}], {R}}}]", "rules[0].matches[0].method",
     'Unsupported value: "get": supported values: "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", '
     '"PUT", "TRACE"', f"rules: [{{matches: [{{method: GET}}], {R}}}]"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "words", "twin"), named(HTTP_ROUTE, "spec"))
def test_http_route(spec, field, words, twin):
    assert refused("HTTPRoute", f"spec: {{{spec}}}") == [(field, words)]
    assert refused("HTTPRoute", f"spec: {{{twin}}}") == []


def policy(peer="", ports=""):
    return f"ingress: [{{from: [{{{peer or 'podSelector: {}'}}}], ports: [{{{ports or 'port: 80'}}}]}}]"


ALL = "podSelector: {}"
FROM, PORT = "ingress[0].from[0]", "ingress[0].ports[0]"
NETWORK_POLICY = [
    (f"{ALL}, policyTypes: [ingress]", "policyTypes[0]",
     'Unsupported value: "ingress": supported values: "Egress", "Ingress"', f"{ALL}, policyTypes: [Ingress]"),
    (f"{ALL}, policyTypes: [Ingress, Egress, Ingress]", "policyTypes",
     'Invalid value: ["Ingress", "Egress", "Ingress"]: may not specify more than two policyTypes',
     f"{ALL}, policyTypes: [Ingress, Egress]"),
    (policy(ports="port: 80, protocol: tcp"), f"{PORT}.protocol",
     'Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"', policy(ports="port: 80, protocol: TCP")),
    (policy(ports="port: 0"), f"{PORT}.port", f"Invalid value: 0: {INCLUSIVE}", policy(ports="port: 1")),
    (policy(ports="port: '80'"), f"{PORT}.port", 'Invalid value: "80": must contain at least one letter (a-z)',
     policy(ports="port: http")),
    (policy(ports="port: 90, endPort: 80"), f"{PORT}.endPort",
     "Invalid value: 80: must be greater than or equal to `port`", policy(ports="port: 80, endPort: 80")),
    (policy(ports="port: http, endPort: 80"), f"{PORT}.endPort",
     "Invalid value: 80: may not be specified when `port` is non-numeric", policy(ports="port: 79, endPort: 80")),
    (policy(ports="endPort: 80"), f"{PORT}.endPort",
     "Invalid value: 80: may not be specified when `port` is not specified", policy(ports="protocol: UDP")),
    ("ingress: [{from: [{}]}]", FROM, "Required value: must specify a peer", "ingress: [{from: []}]"),
    (policy("podSelector: {}, ipBlock: {cidr: 192.0.2.0/24}"), FROM,
     "Forbidden: may not specify both ipBlock and another peer", policy("podSelector: {}, namespaceSelector: {}")),
    (policy("ipBlock: {}"), f"{FROM}.ipBlock.cidr", "Required value", policy("ipBlock: {cidr: 0.0.0.0/0}")),
    (policy("ipBlock: {cidr: 192.0.2.1}"), f"{FROM}.ipBlock.cidr",
     'Invalid value: "192.0.2.1": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
     policy("ipBlock: {cidr: 192.0.2.1/32}")),
    (policy("ipBlock: {cidr: 192.0.2.1/24}"), f"{FROM}.ipBlock.cidr",
     'Invalid value: "192.0.2.1/24": must not have bits set beyond the prefix length',
     policy("ipBlock: {cidr: '2001:db8::/64'}")),
    (policy("ipBlock: {cidr: 192.0.2.0/24, except: [198.51.100.0/25]}"), f"{FROM}.ipBlock.except[0]",
     'Invalid value: "198.51.100.0/25": must be a strict subset of `cidr`',
     policy("ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/25]}")),
    (policy("ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/24]}"), f"{FROM}.ipBlock.except[0]",
     'Invalid value: "192.0.2.0/24": must be a strict subset of `cidr`',
     policy("ipBlock: {cidr: 'fd00::/8', except: ['fd00::/9']}")),
    ("podSelector: {matchExpressions: [{key: app, operator: in, values: [a]}]}",
     "podSelector.matchExpressions[0].operator", 'Invalid value: "in": not a valid selector operator',
     "podSelector: {matchExpressions: [{key: app, operator: In, values: [a]}]}"),
    ("podSelector: {matchExpressions: [{key: app, operator: NotIn}]}", "podSelector.matchExpressions[0].values",
     "Required value: must be specified when `operator` is 'In' or 'NotIn'",
     "podSelector: {matchExpressions: [{key: app, operator: Exists}]}"),
    ("podSelector: {matchExpressions: [{key: app, operator: Exists, values: [a]}]}",
     "podSelector.matchExpressions[0].values",
     "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
     "podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "words", "twin"), named(NETWORK_POLICY, "spec"))
def test_network_policy(spec, field, words, twin):
    assert refused("NetworkPolicy", f"spec: {{{spec}}}") == [(field, words)]
    assert refused("NetworkPolicy", f"spec: {{{twin}}}") == []


def slice_of(address, kind="IPv4", rest=""):
    return f"addressType: {kind}\nendpoints: [{{addresses: ['{address}']}}]\n{rest}"


SLICE = [
    ("endpoints: []", "addressType", "Required value", "addressType: IPv6"),
    ("addressType: ipv4", "addressType", 'Unsupported value: "ipv4": supported values: "FQDN", "IPv4", "IPv6"',
     "addressType: IPv4"),
    ("addressType: IPv4\nendpoints: [{}]", "endpoints[0].addresses",
     "Required value: must contain at least 1 address", slice_of("192.0.2.1")),
    (slice_of("fd00::1"), "endpoints[0].addresses[0]", 'Invalid value: "fd00::1": must be a valid IPv4 address',
     slice_of("fd00::1", "IPv6")),
    (slice_of("127.0.0.1"), "endpoints[0].addresses[0]",
     'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)', slice_of("126.0.0.1")),
    (slice_of("web", "FQDN"), "endpoints[0].addresses[0]",
     'Invalid value: "web": should be a domain with at least two segments separated by dots',
     slice_of("web.example.com", "FQDN")),
    (slice_of("192.0.2.1", rest="ports: [{name: a, port: 80}, {name: a, port: 81}]"), "ports[1].name",
     'Duplicate value: "a"', slice_of("192.0.2.1", rest="ports: [{name: a, port: 80}, {name: '', port: 81}]")),
    (slice_of("192.0.2.1", rest="ports: [{name: Web, port: 80}]"), "ports[0].name", f'Invalid value: "Web": {LABEL}',
     slice_of("192.0.2.1", rest="ports: [{name: web, port: 80}]")),
    (slice_of("192.0.2.1", rest="ports: [{protocol: ICMP}]"), "ports[0].protocol",
     'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
     slice_of("192.0.2.1", rest="ports: [{protocol: UDP}]")),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field", "words", "twin"), SLICE)
def test_endpoint_slice(body, field, words, twin):
    assert refused("EndpointSlice", body) == [(field, words)]
    assert refused("EndpointSlice", twin) == []
