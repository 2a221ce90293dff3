"""Service: every rule of ValidateService, in its words, and beside it the near miss that is taken."""

import pytest
from refusing import refused, warned

INCLUSIVE = "must be between 1 and 65535, inclusive"
NONE = "may not be set to 'None' for"
ONLY_LB = "Forbidden: may only be used when `type` is 'LoadBalancer'"
EXTERNAL = "Forbidden: may not be set for ExternalName services"
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character"
)
IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
DUAL = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"
RANGE = "provided port is not in the valid range. The range of valid ports is 30000-32767"


def ports(*each):
    return f"ports: [{', '.join(each)}]"


P = ports("{port: 80}")
# refused spec, field below spec, words, the twin that is taken
ROWS = [
    (f"type: Nodeport, {P}", "type",
     'Unsupported value: "Nodeport": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
     f"type: NodePort, {P}"),
    ("type: ClusterIP, ports: [{port: 80, nodePort: 30000}]", "ports[0].nodePort",
     "Forbidden: may not be used when `type` is 'ClusterIP'", "type: NodePort, ports: [{port: 80, nodePort: 30000}]"),
    ("ports: [{port: 80, nodePort: 30000}], clusterIP: None", "ports[0].nodePort",
     "Forbidden: may not be used when `type` is 'ClusterIP'", "ports: [{port: 80, nodePort: 0}], clusterIP: None"),
    (f"type: NodePort, clusterIP: None, {P}", "clusterIP", f'Invalid value: "None": {NONE} NodePort services',
     f"type: ClusterIP, clusterIP: None, {P}"),
    (f"type: LoadBalancer, clusterIPs: [None], clusterIP: None, {P}", "clusterIPs[0]",
     f'Invalid value: "None": {NONE} LoadBalancer services', f"clusterIPs: [None], clusterIP: None, {P}"),
    ("type: NodePort, ports: [{port: 80, nodePort: 29999}]", "ports[0].nodePort", f"Invalid value: 29999: {RANGE}",
     "type: NodePort, ports: [{port: 80, nodePort: 30000}]"),
    ("type: LoadBalancer, ports: [{port: 80, nodePort: 32768}]", "ports[0].nodePort",
     f"Invalid value: 32768: {RANGE}", "type: LoadBalancer, ports: [{port: 80, nodePort: 32767}]"),
    ("type: NodePort, " + ports("{name: a, port: 80, nodePort: 30001}", "{name: b, port: 81, nodePort: 30001}"),
     "ports[1].nodePort", "Duplicate value: 30001",
     "type: NodePort, " + ports("{name: a, port: 80, nodePort: 30001}",
                                "{name: b, port: 80, protocol: UDP, nodePort: 30001}")),
    ("selector: {app: a}", "ports", "Required value", "selector: {app: a}, clusterIP: None"),
    (ports("{port: 80}", "{name: b, port: 81}"), "ports[0].name", "Required value",
     ports("{name: a, port: 80}", "{name: b, port: 81}")),
    (ports("{name: a, port: 80}", "{name: a, port: 81}"), "ports[1].name", 'Duplicate value: "a"',
     ports("{name: a, port: 80}", "{name: a1, port: 81}")),
    (ports("{name: http_web, port: 80}"), "ports[0].name", f'Invalid value: "http_web": {LABEL}',
     ports("{name: http-web, port: 80}")),
    (ports("{name: HTTP, port: 80}"), "ports[0].name", f'Invalid value: "HTTP": {LABEL}',
     ports("{name: http, port: 80}")),
    (ports(f"{{name: {'a' * 64}, port: 80}}"), "ports[0].name",
     f'Invalid value: "{"a" * 64}": must be no more than 63 bytes', ports(f"{{name: {'a' * 63}, port: 80}}")),
    (ports("{name: a.b, port: 80}"), "ports[0].name", 'Invalid value: "a.b": must not contain dots',
     ports("{name: 8080-port, port: 80}")),
    (ports("{port: 0}"), "ports[0].port", f"Invalid value: 0: {INCLUSIVE}", ports("{port: 1}")),
    (ports("{port: 65536}"), "ports[0].port", f"Invalid value: 65536: {INCLUSIVE}", ports("{port: 65535}")),
    (ports("{name: a, port: 80}", "{name: b, port: 80}"), "ports[1]", 'Duplicate value: {"protocol":"TCP","port":80}',
     ports("{name: a, port: 53}", "{name: b, port: 53, protocol: UDP}")),
    (ports("{port: 80, protocol: tcp}"), "ports[0].protocol",
     'Unsupported value: "tcp": supported values: "SCTP", "TCP", "UDP"', ports("{port: 80, protocol: SCTP}")),
    (ports("{port: 80, protocol: HTTP}"), "ports[0].protocol",
     'Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"', ports("{port: 80, appProtocol: HTTP}")),
    (ports("{port: 80, targetPort: 70000}"), "ports[0].targetPort", f"Invalid value: 70000: {INCLUSIVE}",
     ports("{port: 80, targetPort: 7000}")),
    (ports("{port: 80, targetPort: http_web}"), "ports[0].targetPort",
     'Invalid value: "http_web": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)',
     ports("{port: 80, targetPort: http-web}")),
    (ports("{port: 80, targetPort: sixteen-letters-}"), "ports[0].targetPort",
     'Invalid value: "sixteen-letters-": must be no more than 15 bytes',
     ports("{port: 80, targetPort: sixteen-letters}")),
    (ports("{port: 80, targetPort: a--b}"), "ports[0].targetPort",
     'Invalid value: "a--b": must not contain consecutive hyphens', ports("{port: 80, targetPort: a-b}")),
    (ports("{port: 80, targetPort: 80-}"), "ports[0].targetPort",
     'Invalid value: "80-": must contain at least one letter (a-z)', ports("{port: 80, targetPort: 80-a}")),
    (ports("{port: 80, appProtocol: 'http 1'}"), "ports[0].appProtocol",
     "Invalid value: \"http 1\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start "
     "and end with an alphanumeric character", ports("{port: 80, appProtocol: kubernetes.io/h2c}")),
    ("type: ExternalName", "externalName", "Required value", "type: ExternalName, externalName: db.example.com."),
    ("type: ExternalName, externalName: 'http://db.example.com/x'", "externalName",
     f'Invalid value: "http://db.example.com/x": {SUBDOMAIN}', "type: ExternalName, externalName: db.example.com"),
    ("type: ExternalName, externalName: db_1.example.com", "externalName",
     f'Invalid value: "db_1.example.com": {SUBDOMAIN}', "type: ExternalName, externalName: 10.20.30.40"),
    ("type: ExternalName, externalName: a.b, clusterIP: None", "clusterIP", EXTERNAL,
     "type: ExternalName, externalName: a.b, clusterIP: ''"),
    ("type: ExternalName, externalName: a.b, ipFamilyPolicy: SingleStack", "ipFamilyPolicy", EXTERNAL,
     f"ipFamilyPolicy: SingleStack, {P}"),
    ("type: ExternalName, externalName: a.b, ipFamilies: [IPv4]", "ipFamilies", EXTERNAL, f"ipFamilies: [IPv4], {P}"),
    (f"selector: {{app: 'my app'}}, {P}", "selector.app",
     "Invalid value: \"my app\": a valid label must be an empty string or consist of alphanumeric characters, '-', "
     "'_' or '.', and must start and end with an alphanumeric character", f"selector: {{app: my_app}}, {P}"),
    (f"selector: {{'a/b/c': x}}, {P}", "selector['a/b/c']",
     "Invalid value: \"a/b/c\": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must "
     "start and end with an alphanumeric character with an optional DNS subdomain prefix and '/' (e.g. "
     "'example.com/MyName')", f"selector: {{'b.c/a': x}}, {P}"),
    (f"sessionAffinity: ClientIp, {P}", "sessionAffinity",
     'Unsupported value: "ClientIp": supported values: "ClientIP", "None"', f"sessionAffinity: ClientIP, {P}"),
    (f"sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 10}}}}, {P}", "sessionAffinityConfig",
     "Forbidden: must not be set when session affinity is None",
     f"sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 10}}}}, {P}"),
    (f"sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 0}}}}, {P}",
     "sessionAffinityConfig.clientIP.timeoutSeconds", "Invalid value: 0: must be greater than 0 and less than 86400",
     f"sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 1}}}}, {P}"),
    (f"sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 86401}}}}, {P}",
     "sessionAffinityConfig.clientIP.timeoutSeconds",
     "Invalid value: 86401: must be greater than 0 and less than 86400",
     f"sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 86400}}}}, {P}"),
    (f"clusterIP: none, {P}", "clusterIP", f'Invalid value: "none": {IP}', f"clusterIP: None, {P}"),
    (f"clusterIP: 10.96.0.300, {P}", "clusterIP", f'Invalid value: "10.96.0.300": {IP}', f"clusterIP: 10.96.0.30, {P}"),
    (f"clusterIP: 10.96.0.010, {P}", "clusterIP", 'Invalid value: "10.96.0.010": must not have leading 0s',
     f"clusterIP: 10.96.0.10, {P}"),
    (f"clusterIP: '::ffff:10.96.0.10', {P}", "clusterIP",
     'Invalid value: "::ffff:10.96.0.10": must not be an IPv4-mapped IPv6 address', f"clusterIP: 'fd00::a', {P}"),
    (f"clusterIP: 10.96.0.9, ipFamilies: [IPv6], {P}", "clusterIP",
     'Invalid value: "10.96.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`',
     f"clusterIP: 'fd00::9', ipFamilies: [IPv6], {P}"),
    (f"clusterIP: 10.96.0.9, clusterIPs: [10.96.0.8], {P}", "clusterIPs",
     'Invalid value: ["10.96.0.8"]: first value must match `clusterIP`',
     f"clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9], {P}"),
    (f"clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 10.96.0.8], ipFamilyPolicy: PreferDualStack, {P}", "clusterIPs",
     'Invalid value: ["10.96.0.9", "10.96.0.8"]: may specify no more than one IP for each IP family',
     f"clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilyPolicy: PreferDualStack, {P}"),
    (f"clusterIP: None, clusterIPs: [None, 10.96.0.8], selector: {{a: b}}, ipFamilyPolicy: PreferDualStack, {P}",
     "clusterIPs", "Invalid value: [\"None\", \"10.96.0.8\"]: 'None' must be the first and only value",
     f"clusterIP: None, clusterIPs: [None], selector: {{a: b}}, {P}"),
    (f"ipFamilies: [ipv4], {P}", "ipFamilies[0]", 'Unsupported value: "ipv4": supported values: "IPv4", "IPv6"',
     f"ipFamilies: [IPv4], {P}"),
    (f"ipFamilies: [IPv4, IPv4], ipFamilyPolicy: PreferDualStack, {P}", "ipFamilies[1]", 'Duplicate value: "IPv4"',
     f"ipFamilies: [IPv4, IPv6], ipFamilyPolicy: PreferDualStack, {P}"),
    (f"ipFamilyPolicy: DualStack, {P}", "ipFamilyPolicy",
     'Unsupported value: "DualStack": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"',
     f"ipFamilyPolicy: PreferDualStack, {P}"),
    (f"ipFamilies: [IPv4, IPv6], {P}", "ipFamilyPolicy",
     f'Invalid value: "SingleStack": {DUAL} IP families are specified',
     f"ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack, {P}"),
    (f"ipFamilies: [IPv4, IPv6], clusterIP: None, selector: {{a: b}}, {P}", "ipFamilyPolicy",
     f'Invalid value: "SingleStack": {DUAL} IP families are specified',
     f"ipFamilies: [IPv4, IPv6], clusterIP: None, {P}"),
    (f"externalIPs: [192.0.2.300], {P}", "externalIPs[0]", f'Invalid value: "192.0.2.300": {IP}',
     f"externalIPs: [192.0.2.30], {P}"),
    (f"externalIPs: [127.0.0.1], {P}", "externalIPs[0]",
     'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
     f"externalIPs: [128.0.0.1], {P}"),
    (f"externalIPs: ['::'], {P}", "externalIPs[0]", 'Invalid value: "::": may not be unspecified (::)',
     f"externalIPs: ['2001:db8::'], {P}"),
    (f"externalIPs: [169.254.1.1], {P}", "externalIPs[0]",
     'Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)',
     f"externalIPs: [169.253.1.1], {P}"),
    (f"loadBalancerSourceRanges: [192.0.2.0/24], {P}", "loadBalancerSourceRanges", ONLY_LB,
     f"type: LoadBalancer, loadBalancerSourceRanges: [' 192.0.2.0/24 '], {P}"),
    (f"type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.7], {P}", "loadBalancerSourceRanges[0]",
     f'Invalid value: "192.0.2.7": {CIDR}', f"type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.7/32], {P}"),
    (f"type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.7/24], {P}", "loadBalancerSourceRanges[0]",
     'Invalid value: "192.0.2.7/24": must not have bits set beyond the prefix length',
     f"type: LoadBalancer, loadBalancerSourceRanges: ['2001:db8::/64'], {P}"),
    (f"type: NodePort, loadBalancerClass: example.com/a, {P}", "loadBalancerClass", ONLY_LB,
     f"type: LoadBalancer, loadBalancerClass: example.com/a, {P}"),
    (f"type: NodePort, allocateLoadBalancerNodePorts: false, {P}", "allocateLoadBalancerNodePorts", ONLY_LB,
     f"type: LoadBalancer, allocateLoadBalancerNodePorts: false, {P}"),
    (f"externalTrafficPolicy: Local, {P}", "externalTrafficPolicy",
     'Invalid value: "Local": may only be set for externally-accessible services',
     f"externalTrafficPolicy: Local, externalIPs: [192.0.2.1], {P}"),
    (f"type: NodePort, externalTrafficPolicy: local, {P}", "externalTrafficPolicy",
     'Unsupported value: "local": supported values: "Cluster", "Local"',
     f"type: NodePort, externalTrafficPolicy: Local, {P}"),
    (f"type: NodePort, externalTrafficPolicy: Local, healthCheckNodePort: 30100, {P}", "healthCheckNodePort",
     "Invalid value: 30100: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
     f"type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30100, {P}"),
    (f"internalTrafficPolicy: Node, {P}", "internalTrafficPolicy",
     'Unsupported value: "Node": supported values: "Cluster", "Local"', f"internalTrafficPolicy: Local, {P}"),
    (f"trafficDistribution: PreferSameZones, {P}", "trafficDistribution",
     'Unsupported value: "PreferSameZones": supported values: "PreferClose", "PreferSameNode", "PreferSameZone"',
     f"trafficDistribution: PreferSameZone, {P}"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "words", "twin"), ROWS)
def test_refused_in_the_api_servers_words_and_the_near_miss_is_taken(spec, field, words, twin):
    found = refused("Service", f"spec: {{{spec}}}")
    assert (f"spec.{field}", words) in found
    assert {f for f, _ in found} == {f"spec.{field}"}, "nothing else is refused"
    assert refused("Service", f"spec: {{{twin}}}") == []


@pytest.mark.parametrize(
    ("spec", "fix"),
    [
        (f"type: Nodeport, {P}", "type: NodePort"),
        ("type: ClusterIP, ports: [{port: 80, nodePort: 30000}]", "type: NodePort"),
        ("ports: [{port: 80, protocol: tcp}]", "protocol: TCP"),
        (f"internalTrafficPolicy: cluster, {P}", "internalTrafficPolicy: Cluster"),
        ("type: ExternalName, externalName: 'https://Db.example.com/x'", "externalName: db.example.com"),
        (f"type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.7], {P}", "192.0.2.7/32"),
        (f"clusterIP: none, {P}", "clusterIP: None"),
    ],
)
def test_the_fix_is_what_was_probably_meant(spec, fix):
    assert [f for _, _, f in warned("Service", f"spec: {{{spec}}}")] == [fix]


METADATA = [
    ("{}", "metadata.name", "Required value: name or generateName is required", "{generateName: web-}"),
    ("{name: my_web}", "metadata.name", f'Invalid value: "my_web": {LABEL}', "{name: my-web}"),
    ("{name: my.web}", "metadata.name", 'Invalid value: "my.web": must not contain dots', "{name: myweb}"),
    ("{name: web, namespace: Shop}", "metadata.namespace", f'Invalid value: "Shop": {LABEL}',
     "{name: web, namespace: shop}"),
    ("{name: web, labels: {a: x y}}", "metadata.labels.a",
     "Invalid value: \"x y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' "
     "or '.', and must start and end with an alphanumeric character", "{name: web, labels: {a: ''}}"),
    (f"{{name: web, labels: {{a: {'x' * 64}}}}}", "metadata.labels.a",
     f'Invalid value: "{"x" * 64}": must be no more than 63 bytes', f"{{name: web, labels: {{a: {'x' * 63}}}}}"),
    ("{name: web, labels: {'/a': x}}", "metadata.labels['/a']",
     'Invalid value: "/a": prefix part must be non-empty', "{name: web, labels: {'b/a': x}}"),
    ("{name: web, annotations: {'Example.com/a b': x}}", "metadata.annotations['Example.com/a b']",
     "Invalid value: \"Example.com/a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must "
     "start and end with an alphanumeric character",
     "{name: web, annotations: {'Example.com/a_b': 'any text, really'}}"),
    ("{name: web, annotations: {service.beta.kubernetes.io/load-balancer-source-ranges: 192.0.2.0/24}}",
     "metadata.annotations['service.beta.kubernetes.io/load-balancer-source-ranges']", ONLY_LB,
     "{name: web, annotations: {service.beta.kubernetes.io/load-balancer-sourceranges: 192.0.2.0/24}}"),
    ("{name: web, annotations: {service.kubernetes.io/topology-mode: Auto, "
     "service.kubernetes.io/topology-aware-hints: auto}}",
     "metadata.annotations['service.kubernetes.io/topology-mode']",
     'Invalid value: "Auto": must match annotations[service.kubernetes.io/topology-aware-hints] when both are '
     "specified",
     "{name: web, annotations: {service.kubernetes.io/topology-mode: Auto, "
     "service.kubernetes.io/topology-aware-hints: Auto}}"),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "field", "words", "twin"), METADATA)
def test_metadata(metadata, field, words, twin):
    assert refused("Service", f"spec: {{{P}}}", metadata) == [(field, words)]
    assert refused("Service", f"spec: {{{P}}}", twin) == []


def test_a_digit_first_is_a_warning_as_only_older_servers_refuse_it():
    ((field, severity, fix),) = warned("Service", f"spec: {{{P}}}", "{name: 1web}")
    assert (field, severity, fix) == ("metadata.name", "warning", "name: svc-1web")
    assert refused("Service", f"spec: {{{P}}}", "{name: web1}") == []


def test_the_default_range_of_node_ports_is_a_warning():
    ((_, severity, _),) = warned("Service", "spec: {type: NodePort, ports: [{port: 80, nodePort: 80}]}")
    assert severity == "warning"
