"""Every check's texts: what a tired person reads when a code is explained."""

import re
import subprocess
import sys

import pytest

from svcdoctor.checks.catalogue import FAMILIES, catalogue, explained_by, family_of, of_codes, of_families
from svcdoctor.checks.registry import REGISTRY
from svcdoctor.model.errors import SvcdoctorError

HOSTS = {
    "kubernetes.io",
    "github.com",  # KEPs
    "gateway-api.sigs.k8s.io",
    "kind.sigs.k8s.io",
    "minikube.sigs.k8s.io",
    "coredns.io",
    "docs.kernel.org",
    "man7.org",
    "wiki.nftables.org",
    "www.rfc-editor.org",
    "docs.cilium.io",
    "docs.docker.com",
    "istio.io",
    "linkerd.io",
}
CHECKS = catalogue()


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.code)
def test_a_check_says_what_it_means_how_it_is_seen_and_how_it_is_mended(check):
    assert re.fullmatch(r"[A-Z]{3}\d{3}", check.code)
    assert check.title == check.title.strip()
    assert not check.title.endswith((".", "!", ":"))
    assert len(check.title) <= 80
    for text in (check.meaning, check.mend):
        assert text[0].isupper() or text.startswith(
            ("externalTrafficPolicy", "kube-proxy", "kubelet", "kind")
        )
        assert text.endswith(".")
        assert "  " not in text
    assert check.look.strip()
    assert len(check.mend) <= 320, "one or two sentences"


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.code)
def test_a_check_links_to_its_specification(check):
    assert check.links
    assert len(set(check.links)) == len(check.links)
    for link in check.links:
        match = re.fullmatch(r"https://([a-z0-9.-]+)/[\w./#%-]*", link)
        assert match, link
        assert match[1] in HOSTS, link
        assert not re.search(r"/v?1\.\d\d/|/v\d+\.\d+", link), "a version's page goes away"
        if match[1] == "github.com":
            assert link.startswith("https://github.com/kubernetes/enhancements/tree/master/keps/"), link


def test_what_a_check_explains_exists_and_is_not_itself():
    for check in CHECKS:
        assert check.explains <= set(REGISTRY), check.code
        assert check.code not in check.explains


def test_the_list_has_every_check_once_by_family_and_number():
    codes = [c.code for c in CHECKS]
    assert len(codes) == len(set(codes)) == len(REGISTRY)
    assert list(dict.fromkeys(map(family_of, codes))) == list(FAMILIES)
    for family in FAMILIES:
        own = [c.code for c in of_families([family.lower()])]
        assert own == sorted(own)
        assert all(c.startswith(family) for c in own)


def test_codes_are_found_by_any_case_once_and_near_ones_are_named():
    assert [c.code for c in of_codes(["obj002", "RUL001", "OBJ002"])] == ["OBJ002", "RUL001"]
    with pytest.raises(SvcdoctorError, match=r"no code OBJ0002; near: OBJ002"):
        of_codes(["obj0002"])
    with pytest.raises(SvcdoctorError, match=r"no code NONSENSE; svcdoctor codes lists all"):
        of_codes(["nonsense"])
    with pytest.raises(SvcdoctorError, match=r"no family ABC; there are OBJ, DNS, RUL, NOD, EXT, OBS"):
        of_families(["abc"])
    assert "OBJ009" in [c.code for c in explained_by("OBJ002")]


def test_the_catalogue_is_there_without_what_commands_of_a_cluster_need():
    code = (
        "import sys\nfrom svcdoctor.checks.catalogue import catalogue\nassert catalogue()\n"
        "heavy = {'kubernetes', 'scapy', 'yaml', 'rich.console', 'cryptography', 'typer', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
