"""The tutorial, from ``lab up`` to ``lab down``: every command prints what stands there."""

from documents import ROOT, blocks

TUTORIAL = "docs/tutorial.md"


def test_every_command_prints_what_stands_there(follow, lab_possible):
    assert follow(TUTORIAL) > 50


def test_it_walks_through_every_type_of_service_and_every_cluster_of_the_texts():
    text = (ROOT / TUTORIAL).read_text()
    for word in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Headless", "hostPort", "Ingress"):
        assert f". {word}" in text
    commands = [step.command for block in blocks(text, "console") for step in block.steps]
    for cluster in ("nodeport", "minikube", "nginx-dns", "hostport", "seeds-manifests", "minikube-manifests"):
        assert any(f"fixtures/{cluster}" in command for command in commands), cluster
