"""Facts of a node out of a container on it, through the API server.

kube-proxy's own container runs on the node's network and may read all of its rules. Its image has no shell, so
every command is a fixed argument list; programs that it does not have leave their dumps missing.
"""

from __future__ import annotations

import re

from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.model.pod import Pod
from svcdoctor.sources.collecting import Limits, NotRun, Run, collect, nothing_known
from svcdoctor.sources.dumpnames import Arguments
from svcdoctor.sources.grants import subject_of
from svcdoctor.sources.podexec import Container, ExecError, Failure, Output, Streams, execute
from svcdoctor.sources.proxypods import container_of
from svcdoctor.sources.session import ApiSession

# How runtimes say that a container has no such program; some say it on stderr, and end with 126 or more.
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory|exec format error", re.I)


def runner(session: ApiSession, container: Container, streams: Streams) -> Run:
    """Runs commands in a container, as ``collect`` wants them run."""

    def run(arguments: Arguments, seconds: float, limit: int) -> Output:
        words, program = " ".join(arguments), arguments[0]
        try:
            output = execute(session, container, arguments, seconds=seconds, limit=limit, streams=streams)
        except ExecError as e:
            if e.failure is Failure.NOT_STARTED and _NO_PROGRAM.search(e.message):
                raise NotRun(_absent(program, container), program=program) from None
            if e.failure is Failure.REFUSED:
                raise NotRun(_refused(e, container), node=True) from None
            if e.failure is Failure.NOT_STARTED:
                raise NotRun(f"{words} in pod {container.pod}: {e.message}") from None
            raise NotRun(
                f"{words} in pod {container.pod}: {e.message}", node=streams.ended.is_set()
            ) from None
        said = output.stderr[:2000].decode("utf-8", "replace")
        if output.exit_code >= 126 and not output.stdout and _NO_PROGRAM.search(said):
            raise NotRun(_absent(program, container), program=program)
        return output

    return run


def exec_facts(
    session: ApiSession, node: str, pod: Pod | None, limits: Limits, streams: Streams
) -> NodeFacts:
    """The facts that a node's kube-proxy pod gives, or why there are none."""
    if pod is None:
        return nothing_known(
            node,
            "there is no kube-proxy pod on this node (k3s and eBPF proxies have none); use --node-facts local on "
            "the node, or --node-facts pods with --node-facts-image",
        )
    if pod.status.phase != "Running" or pod.terminating:
        phase = "Terminating" if pod.terminating else pod.status.phase or "not running"
        return nothing_known(
            node,
            f"its kube-proxy pod {pod.name} is {phase}; use --node-facts local on the node, or --node-facts pods",
        )
    container = Container(pod.namespace, pod.name, container_of(pod)[0])
    return collect(node, runner(session, container, streams), limits)


def _absent(program: str, container: Container) -> str:
    return f"the image of container {container.name} has no program {program}"


def _refused(error: ExecError, container: Container) -> str:
    if error.status != 403:
        return f"exec in pod {container.namespace}/{container.pod}: {error.message}"
    namespace = container.namespace
    return (
        f"{error.message.partition(': RBAC: ')[0]}; grant verbs get and create on pods/exec in namespace "
        f"{namespace}: kubectl create role svcdoctor-exec --verb=get,create --resource=pods/exec -n {namespace} && "
        f"kubectl create rolebinding svcdoctor-exec --role=svcdoctor-exec {subject_of(error.message)} -n {namespace}"
    )
