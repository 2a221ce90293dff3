"""Benchmark of ``svcdoctor lint``, run by hand: python tests/benchmarks/lint.py [MANIFESTS]

Makes manifests of a healthy application landscape (Deployments, Services, Ingresses, NetworkPolicies), as a folder of
files and as one file, and prints the ratio of the whole process to a whole Python process that loads the same bytes
with PyYAML's C loader, best of five, measured in turns; and what one manifest costs when there are four times as many.
"""

import sys
import tempfile
from pathlib import Path

from measured import report, timed

BIN = Path(sys.executable).parent
ROUNDS = 5
LOAD = """
import pathlib, sys, yaml
path = pathlib.Path(sys.argv[1])
for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
    with file.open(encoding="utf-8") as stream:
        for document in yaml.load_all(stream, Loader=yaml.CSafeLoader):
            assert document
"""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{n}
  namespace: ns-{ns}
  labels:
    app.kubernetes.io/name: app-{n}
    app.kubernetes.io/part-of: landscape
    app.kubernetes.io/managed-by: hand
spec:
  replicas: 2
  revisionHistoryLimit: 3
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 25%
      maxUnavailable: 0
  selector:
    matchLabels:
      app.kubernetes.io/name: app-{n}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: app-{n}
        app.kubernetes.io/part-of: landscape
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9090"
    spec:
      serviceAccountName: app-{n}
      terminationGracePeriodSeconds: 30
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: app-{n}
      volumes:
        - name: config
          configMap:
            name: app-{n}
        - name: tmp
          emptyDir: {{}}
      containers:
        - name: app
          image: registry.example.com/landscape/app-{n}:1.12.{n}
          imagePullPolicy: IfNotPresent
          ports:
            - name: http
              containerPort: 8080
            - name: metrics
              containerPort: 9090
          env:
            - name: LOG_LEVEL
              value: info
            - name: DATABASE
              valueFrom:
                secretKeyRef:
                  name: app-{n}
                  key: url
          volumeMounts:
            - name: config
              mountPath: /etc/app
              readOnly: true
            - name: tmp
              mountPath: /tmp
          readinessProbe:
            httpGet:
              path: /healthz
              port: http
            periodSeconds: 5
            failureThreshold: 3
          livenessProbe:
            httpGet:
              path: /healthz
              port: http
            initialDelaySeconds: 20
          lifecycle:
            preStop:
              sleep:
                seconds: 5
          resources:
            requests:
              cpu: 100m
              memory: 128Mi
            limits:
              memory: 256Mi
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: app-{n}
  namespace: ns-{ns}
  labels:
    app.kubernetes.io/name: app-{n}
spec:
  selector:
    app.kubernetes.io/name: app-{n}
  ports:
    - name: http
      port: 80
      targetPort: http
    - name: metrics
      port: 9090
      targetPort: metrics
"""
INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app-{n}
  namespace: ns-{ns}
spec:
  ingressClassName: nginx
  rules:
    - host: app-{n}.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: app-{n}
                port:
                  name: http
"""
POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: app-{n}
  namespace: ns-{ns}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: app-{n}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector: {{}}
        - namespaceSelector: {{}}
      ports:
        - port: 8080
        - port: 9090
"""


def manifests(count):
    """Name and text of each: of ten, four Deployments, four Services, an Ingress and a policy."""
    for n in range(count // 10):
        for i in range(4):
            number, ns = 4 * n + i, n % 20
            yield f"deployment-{number}", DEPLOYMENT.format(n=number, ns=ns)
            yield f"service-{number}", SERVICE.format(n=number, ns=ns)
        yield f"ingress-{n}", INGRESS.format(n=4 * n, ns=n % 20)
        yield f"policy-{n}", POLICY.format(n=4 * n, ns=n % 20)


def measured(path):
    """The best seconds of lint and of loading, and lint's peak memory."""
    lint = [str(BIN / "svcdoctor"), "lint", "-f", str(path), "-o", "json"]
    load = [sys.executable, "-c", LOAD, str(path)]
    pairs = [(timed(lint), timed(load)) for _ in range(ROUNDS)]
    return min(a[0] for a, _ in pairs), min(b[0] for _, b in pairs), max(a[1] for a, _ in pairs)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    cost = {}
    start = min(timed([str(BIN / "svcdoctor"), "codes", "-o", "name"])[0] for _ in range(ROUNDS))
    with tempfile.TemporaryDirectory() as temporary:
        for many in (count, 4 * count):
            folder = Path(temporary) / str(many)
            folder.mkdir()
            texts = dict(manifests(many))
            for name, text in texts.items():
                (folder / f"{name}.yaml").write_text(text)
            single = Path(temporary) / f"{many}.yaml"
            single.write_text("---\n".join(texts.values()))
            for what, path in (("a file each", folder), ("one file", single)):
                mine, theirs, peak = measured(path)
                print(
                    f"{len(texts)} manifests, {what}, {single.stat().st_size >> 10} KiB: lint {mine:.2f} s, "
                    f"CSafeLoader {theirs:.2f} s, peak {peak >> 20} MiB"
                )
                report("whole process / loading with PyYAML's C loader", mine / theirs, 2.5)
            cost[many] = (mine - start) / many
    report("cost of one manifest, four times as many", cost[4 * count] / cost[count], 1.3)


if __name__ == "__main__":
    main()
