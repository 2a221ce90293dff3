"""The example's check on two Services that differ in one label."""

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.sources.manifests import ManifestSource

SERVICE = """
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: {namespace}
  labels: {labels}
spec:
  selector: {{app: web}}
  ports: [{{port: 80}}]
"""


def findings(tmp_path, labels, namespace="shop"):
    manifest = tmp_path / "web.yaml"
    manifest.write_text(SERVICE.format(labels=labels, namespace=namespace))
    snapshot = ManifestSource([str(manifest)], namespace).snapshot()
    answer = answer_once(snapshot, Request(ObjectTarget("Service", "web", namespace)), namespace)
    return [f for f in answer.findings if f.code == "EXAMPLE001"]


@pytest.mark.parametrize("labels", ["{}", "{example.com/owner: ''}", "{example.com/owners: shop-team}"])
def test_a_service_without_an_owner_is_named(tmp_path, labels):
    (finding,) = findings(tmp_path, labels)
    assert finding.subjects == ("Service/shop/web",)
    assert finding.field == "metadata.labels['example.com/owner']"


def test_a_service_with_an_owner_is_not(tmp_path):
    assert not findings(tmp_path, "{example.com/owner: shop-team}")


def test_nor_is_one_of_the_cluster_itself(tmp_path):
    assert not findings(tmp_path, "{}", "kube-system")
