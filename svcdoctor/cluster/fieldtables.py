"""Every field of the objects that Services rest on, with its type: what strict decoding knows.

Kubernetes v1.36 (OpenAPI), and Gateway API's HTTPRoute with its experimental fields. A type is ``string``, ``int``,
``bool``, ``map`` (of strings), ``port`` (a number or a name), ``any`` (not looked into), ``list`` (of anything), or
the name of another table; ``[]`` before one is a list of it.
"""

from __future__ import annotations

# Type of the object: type of the field: names of the fields.
TABLES: dict[str, dict[str, str]] = {
    "Service": {
        "ObjectMeta": "metadata",
        "ServiceSpec": "spec",
        "any": "status",
        "string": "apiVersion kind",
    },
    "ServiceSpec": {
        "SessionAffinityConfig": "sessionAffinityConfig",
        "[]ServicePort": "ports",
        "[]string": "clusterIPs externalIPs ipFamilies loadBalancerSourceRanges",
        "bool": "allocateLoadBalancerNodePorts publishNotReadyAddresses",
        "int": "healthCheckNodePort",
        "map": "selector",
        "string": (
            "clusterIP externalName externalTrafficPolicy internalTrafficPolicy ipFamilyPolicy "
            "loadBalancerClass loadBalancerIP sessionAffinity trafficDistribution type"
        ),
    },
    "ServicePort": {
        "int": "nodePort port",
        "port": "targetPort",
        "string": "appProtocol name protocol",
    },
    "SessionAffinityConfig": {
        "ClientIPConfig": "clientIP",
    },
    "ClientIPConfig": {
        "int": "timeoutSeconds",
    },
    "ObjectMeta": {
        "[]OwnerReference": "ownerReferences",
        "[]string": "finalizers",
        "int": "deletionGracePeriodSeconds generation",
        "list": "managedFields",
        "map": "annotations labels",
        "string": (
            "creationTimestamp deletionTimestamp generateName name namespace resourceVersion selfLink uid"
        ),
    },
    "OwnerReference": {
        "bool": "blockOwnerDeletion controller",
        "string": "apiVersion kind name uid",
    },
    "Ingress": {
        "IngressSpec": "spec",
        "ObjectMeta": "metadata",
        "any": "status",
        "string": "apiVersion kind",
    },
    "IngressSpec": {
        "IngressBackend": "defaultBackend",
        "[]IngressRule": "rules",
        "[]IngressTLS": "tls",
        "string": "ingressClassName",
    },
    "IngressBackend": {
        "IngressServiceBackend": "service",
        "TypedLocalObjectReference": "resource",
    },
    "IngressServiceBackend": {
        "ServiceBackendPort": "port",
        "string": "name",
    },
    "ServiceBackendPort": {
        "int": "number",
        "string": "name",
    },
    "TypedLocalObjectReference": {
        "string": "apiGroup kind name",
    },
    "IngressRule": {
        "HTTPIngressRuleValue": "http",
        "string": "host",
    },
    "HTTPIngressRuleValue": {
        "[]HTTPIngressPath": "paths",
    },
    "HTTPIngressPath": {
        "IngressBackend": "backend",
        "string": "path pathType",
    },
    "IngressTLS": {
        "[]string": "hosts",
        "string": "secretName",
    },
    "NetworkPolicy": {
        "NetworkPolicySpec": "spec",
        "ObjectMeta": "metadata",
        "string": "apiVersion kind",
    },
    "NetworkPolicySpec": {
        "LabelSelector": "podSelector",
        "[]NetworkPolicyEgressRule": "egress",
        "[]NetworkPolicyIngressRule": "ingress",
        "[]string": "policyTypes",
    },
    "NetworkPolicyIngressRule": {
        "[]NetworkPolicyPeer": "from",
        "[]NetworkPolicyPort": "ports",
    },
    "NetworkPolicyEgressRule": {
        "[]NetworkPolicyPeer": "to",
        "[]NetworkPolicyPort": "ports",
    },
    "NetworkPolicyPeer": {
        "IPBlock": "ipBlock",
        "LabelSelector": "namespaceSelector podSelector",
    },
    "NetworkPolicyPort": {
        "int": "endPort",
        "port": "port",
        "string": "protocol",
    },
    "IPBlock": {
        "[]string": "except",
        "string": "cidr",
    },
    "LabelSelector": {
        "[]LabelSelectorRequirement": "matchExpressions",
        "map": "matchLabels",
    },
    "LabelSelectorRequirement": {
        "[]string": "values",
        "string": "key operator",
    },
    "EndpointSlice": {
        "ObjectMeta": "metadata",
        "[]Endpoint": "endpoints",
        "[]EndpointPort": "ports",
        "string": "addressType apiVersion kind",
    },
    "Endpoint": {
        "EndpointConditions": "conditions",
        "EndpointHints": "hints",
        "ObjectReference": "targetRef",
        "[]string": "addresses",
        "map": "deprecatedTopology",
        "string": "hostname nodeName zone",
    },
    "EndpointConditions": {
        "bool": "ready serving terminating",
    },
    "EndpointHints": {
        "list": "forNodes forZones",
    },
    "ObjectReference": {
        "string": "apiVersion fieldPath kind name namespace resourceVersion uid",
    },
    "EndpointPort": {
        "int": "port",
        "string": "appProtocol name protocol",
    },
    "Deployment": {
        "DeploymentSpec": "spec",
        "ObjectMeta": "metadata",
        "any": "status",
        "string": "apiVersion kind",
    },
    "DeploymentSpec": {
        "LabelSelector": "selector",
        "PodTemplateSpec": "template",
        "any": "strategy",
        "bool": "paused",
        "int": "minReadySeconds progressDeadlineSeconds replicas revisionHistoryLimit",
    },
    "ReplicaSet": {
        "ObjectMeta": "metadata",
        "ReplicaSetSpec": "spec",
        "any": "status",
        "string": "apiVersion kind",
    },
    "ReplicaSetSpec": {
        "LabelSelector": "selector",
        "PodTemplateSpec": "template",
        "int": "minReadySeconds replicas",
    },
    "StatefulSet": {
        "ObjectMeta": "metadata",
        "StatefulSetSpec": "spec",
        "any": "status",
        "string": "apiVersion kind",
    },
    "StatefulSetSpec": {
        "LabelSelector": "selector",
        "PodTemplateSpec": "template",
        "any": "ordinals persistentVolumeClaimRetentionPolicy updateStrategy",
        "int": "minReadySeconds replicas revisionHistoryLimit",
        "list": "volumeClaimTemplates",
        "string": "podManagementPolicy serviceName",
    },
    "DaemonSet": {
        "DaemonSetSpec": "spec",
        "ObjectMeta": "metadata",
        "any": "status",
        "string": "apiVersion kind",
    },
    "DaemonSetSpec": {
        "LabelSelector": "selector",
        "PodTemplateSpec": "template",
        "any": "updateStrategy",
        "int": "minReadySeconds revisionHistoryLimit",
    },
    "Job": {
        "JobSpec": "spec",
        "ObjectMeta": "metadata",
        "any": "status",
        "string": "apiVersion kind",
    },
    "JobSpec": {
        "LabelSelector": "selector",
        "PodTemplateSpec": "template",
        "any": "podFailurePolicy scheduling successPolicy",
        "bool": "manualSelector suspend",
        "int": (
            "activeDeadlineSeconds backoffLimit backoffLimitPerIndex completions maxFailedIndexes "
            "parallelism ttlSecondsAfterFinished"
        ),
        "string": "completionMode managedBy podReplacementPolicy",
    },
    "ReplicationController": {
        "ObjectMeta": "metadata",
        "ReplicationControllerSpec": "spec",
        "any": "status",
        "string": "apiVersion kind",
    },
    "ReplicationControllerSpec": {
        "PodTemplateSpec": "template",
        "int": "minReadySeconds replicas",
        "map": "selector",
    },
    "PodTemplateSpec": {
        "ObjectMeta": "metadata",
        "PodSpec": "spec",
    },
    "Pod": {
        "ObjectMeta": "metadata",
        "PodSpec": "spec",
        "any": "status",
        "string": "apiVersion kind",
    },
    "PodSpec": {
        "PodDNSConfig": "dnsConfig",
        "[]Container": "containers initContainers",
        "[]PodReadinessGate": "readinessGates",
        "any": "affinity os resources schedulingGroup securityContext",
        "bool": (
            "automountServiceAccountToken enableServiceLinks hostIPC hostNetwork hostPID hostUsers "
            "setHostnameAsFQDN shareProcessNamespace"
        ),
        "int": "activeDeadlineSeconds priority terminationGracePeriodSeconds",
        "list": (
            "ephemeralContainers evictionResponders hostAliases imagePullSecrets resourceClaims "
            "schedulingGates tolerations topologySpreadConstraints volumes"
        ),
        "map": "nodeSelector overhead",
        "string": (
            "dnsPolicy hostname hostnameOverride nodeName preemptionPolicy priorityClassName "
            "restartPolicy runtimeClassName schedulerName serviceAccount serviceAccountName subdomain"
        ),
    },
    "Container": {
        "Probe": "livenessProbe readinessProbe startupProbe",
        "[]ContainerPort": "ports",
        "[]string": "args command",
        "any": "lifecycle resources securityContext",
        "bool": "stdin stdinOnce tty",
        "list": "env envFrom resizePolicy restartPolicyRules volumeDevices volumeMounts",
        "string": (
            "image imagePullPolicy name restartPolicy terminationMessagePath terminationMessagePolicy "
            "workingDir"
        ),
    },
    "ContainerPort": {
        "int": "containerPort hostPort",
        "string": "hostIP name protocol",
    },
    "Probe": {
        "GRPCAction": "grpc",
        "HTTPGetAction": "httpGet",
        "TCPSocketAction": "tcpSocket",
        "any": "exec",
        "int": (
            "failureThreshold initialDelaySeconds periodSeconds successThreshold "
            "terminationGracePeriodSeconds timeoutSeconds"
        ),
    },
    "HTTPGetAction": {
        "list": "httpHeaders",
        "port": "port",
        "string": "host path protocol scheme",
    },
    "TCPSocketAction": {
        "port": "port",
        "string": "host",
    },
    "GRPCAction": {
        "int": "port",
        "string": "mode service",
    },
    "PodDNSConfig": {
        "[]PodDNSConfigOption": "options",
        "[]string": "nameservers searches",
    },
    "PodDNSConfigOption": {
        "string": "name value",
    },
    "PodReadinessGate": {
        "string": "conditionType",
    },
    "HTTPRoute": {
        "HTTPRouteSpec": "spec",
        "ObjectMeta": "metadata",
        "any": "status",
        "string": "apiVersion kind",
    },
    "HTTPRouteSpec": {
        "[]HTTPRouteRule": "rules",
        "[]ParentReference": "parentRefs",
        "[]string": "hostnames",
        "string": "useDefaultGateways",
    },
    "ParentReference": {
        "int": "port",
        "string": "group kind name namespace sectionName",
    },
    "HTTPRouteRule": {
        "[]HTTPBackendRef": "backendRefs",
        "[]HTTPRouteMatch": "matches",
        "any": "retry sessionPersistence timeouts",
        "list": "filters",
        "string": "name",
    },
    "HTTPRouteMatch": {
        "HTTPPathMatch": "path",
        "[]HTTPHeaderMatch": "headers",
        "[]HTTPQueryParamMatch": "queryParams",
        "string": "method",
    },
    "HTTPPathMatch": {
        "string": "type value",
    },
    "HTTPHeaderMatch": {
        "string": "name type value",
    },
    "HTTPQueryParamMatch": {
        "string": "name type value",
    },
    "HTTPBackendRef": {
        "int": "port weight",
        "list": "filters",
        "string": "group kind name namespace",
    },
}
