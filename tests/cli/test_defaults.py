"""The user's own defaults: what holds, what the command line replaces, and mistakes with file and line."""

import json

import pytest

from svcdoctor.cli.defaults import user_defaults
from svcdoctor.model.errors import SvcdoctorError

CAPTURE = "fixtures/captures/iptables.tar.gz"
WARNED = ("check", "-n", "truth", "--snapshot", CAPTURE)


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / ".config" / "svcdoctor" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_a_default_holds_and_the_command_line_replaces_it(run, config):
    config('[defaults]\nfail-on = "never"\ncolor = "always"\n')
    done = run(*WARNED)
    assert done.returncode == 0
    assert "\x1b[" in done.stdout
    done = run(*WARNED, "--fail-on", "error", "--color", "never")
    assert done.returncode == 1
    assert "\x1b[" not in done.stdout
    assert run("codes").returncode == 0  # which has neither option


def test_the_place_that_xdg_names(run, config, tmp_path):
    config('[defaults]\nfail-on = "never"\n')
    elsewhere = tmp_path / "xdg"
    assert run(*WARNED, XDG_CONFIG_HOME=str(elsewhere)).returncode == 1
    assert run(*WARNED, XDG_CONFIG_HOME="relative").returncode == 0  # which counts as not set
    (elsewhere / "svcdoctor").mkdir(parents=True)
    (elsewhere / "svcdoctor" / "config.toml").write_text('[defaults]\nfail-on = "never"\n')
    assert run(*WARNED, XDG_CONFIG_HOME=str(elsewhere)).returncode == 0


def test_nodes_are_asked_by_default_where_there_is_a_cluster(run, config, serve):
    config('[defaults]\nnode-facts = "exec"\nrequest-timeout = 7\n')
    server = serve(CAPTURE)
    done = run("trace", "svc/np-cluster", "-n", "truth", kubeconfig=server.kubeconfig_file)
    assert done.returncode == 0
    assert "there is no kube-proxy pod on this" in done.stdout  # which exec would have asked
    done = run("trace", "svc/np-cluster", "-n", "truth", "--snapshot", CAPTURE, "-o", "json")
    assert json.loads(done.stdout)["verdict"] == "healthy"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('# mine\n[defaults]\n\ncolour = "never"\n', 4, "unknown key 'colour'; did you mean color?"),
        ('[defaults]\ncolor = "blue"\n', 2, "color: 'blue' is none of auto, always, never"),
        ("[defaults]\ncolor = true\n", 2, "color is a text in quotes"),
        ('[defaults]\nfail-on = "error"\nnamespace = "shop"\n', 3, "namespace is your kubeconfig's to say"),
        ('[defaults]\nrequest-timeout = "soon"\n', 2, "not a duration"),
        ('[trace]\ncolor = "never"\n', 1, "'trace' means nothing here: [defaults] is the only table"),
        ('color = "never"\n', 1, "'color' means nothing here"),
    ],
)
def test_a_mistake_is_a_line_with_the_place(config, tmp_path, text, line, why):
    path = config(text)
    with pytest.raises(SvcdoctorError) as raised:
        user_defaults({"HOME": str(tmp_path)})
    assert raised.value.message.startswith(f"{path}:{line}: ")
    assert why in raised.value.message and "\n" not in raised.value.message


def test_what_is_no_toml_and_what_cannot_be_read(run, config, tmp_path):
    path = config("[defaults\n")
    done = run("check", "--snapshot", CAPTURE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{path}: not TOML" in done.stderr and "line 1" in done.stderr
    assert run("codes", "--help").returncode == 0  # help comes all the same
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SvcdoctorError, match="not UTF-8"):
        user_defaults({"HOME": str(tmp_path)})
    path.unlink()
    path.mkdir()
    assert user_defaults({"HOME": str(tmp_path)}) == {}


def test_no_home_at_all():
    for home in ("", "relative", "/proc/1/fdinfo", "/dev/null"):
        assert user_defaults({"HOME": home}) == {}
    assert user_defaults({}) == {}


def test_a_mistake_is_no_concern_of_commands_without_such_options(run, config):
    config('[defaults]\ncolour = "never"\n')
    assert run("check", "--snapshot", CAPTURE).returncode == 2
    for words in (("codes",), ("completion", "bash")):
        assert run(*words).returncode == 0


def test_the_other_spelling_of_a_flag_is_known(config):
    with pytest.raises(SvcdoctorError, match="did you mean node-facts"):
        user_defaults({"HOME": str(config("[defaults]\nnodes-from = 'exec'\n").parents[2])})
