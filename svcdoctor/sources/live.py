"""A live cluster as a source: needs in, a Snapshot with what the API server knows out.

Theory. Every need becomes one list, or one GET where it names an object; needs that a larger one of the same
call covers are not asked. What is forbidden becomes an ``Unknown`` of that kind and scope alone, and says
what to grant. A user of one namespace who may not list everywhere gets his own namespace instead, and the
rest stays unknown.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import quote

from svcdoctor.cluster.kinds import CONFIG_MAPS, KINDS, KindInfo
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Need, Scope, Unknown
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.grants import forbidden, refused_user, shortened
from svcdoctor.sources.pages import Refusal, read_list, read_object
from svcdoctor.sources.session import ApiSession

AT_ONCE = 6
"""Lists that are asked for at the same time."""

# Kinds that a cluster may do without: where they are not served there are none of them.
_OPTIONAL = frozenset(
    {
        Kind.ENDPOINT_SLICE,
        Kind.SERVICE_CIDR,
        Kind.GATEWAY_CLASS,
        Kind.GATEWAY,
        Kind.HTTP_ROUTE,
        Kind.GRPC_ROUTE,
        Kind.REFERENCE_GRANT,
        Kind.PEER_AUTHENTICATION,
    }
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one need: objects, and for which scope they are complete or why not."""

    facts: tuple[Known | Unknown, ...]
    objects: tuple[KubeObject, ...] = ()

    def covers(self, scope: Scope) -> bool:
        return any(isinstance(fact, Known) and fact.scope.covers(scope) for fact in self.facts)


class LiveSource:
    """The API server that a session talks to, as a source of facts."""

    def __init__(self, session: ApiSession) -> None:
        self.session = session

    @property
    def requests(self) -> int:
        """How many requests were sent."""
        return self.session.requests

    @property
    def namespace(self) -> str:
        """The namespace of what is named without one."""
        return self.session.namespace

    def snapshot(self) -> Snapshot:
        """A Snapshot in which nothing has been asked yet."""
        server, context = self.session.server, self.session.context
        return Snapshot({}, {}, source=f"context {context} ({server})" if context else f"server {server}")

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        """The Snapshot with all needs answered: afterwards each is Known, or Unknown with its reason.

        What the Snapshot knows already is not asked again. Raises SvcdoctorError, exit code 3, where the
        server cannot be asked or an object is not of its kind's shape.
        """
        wanted = [n for n in dict.fromkeys(map(_plain, needs)) if not snapshot.knows(n.kind, n.scope)]
        answers: dict[Need, _Answer] = {}
        while wanted:
            largest = [n for n in wanted if not any(_covers(other, n) for other in wanted if other != n)]
            answers.update(zip(largest, self._ask(largest), strict=True))
            # What a refused list would have covered may be allowed on its own.
            wanted = [
                n
                for n in wanted
                if n not in answers
                and not any(o.kind is n.kind and a.covers(n.scope) for o, a in answers.items())
            ]
        objects: dict[Kind, list[KubeObject]] = {}
        facts: dict[Kind, list[Known | Unknown]] = {}
        for need, answer in answers.items():
            objects.setdefault(need.kind, []).extend(answer.objects)
            facts.setdefault(need.kind, []).extend(answer.facts)
        return snapshot.merged(objects, facts)

    def _ask(self, needs: list[Need]) -> list[_Answer]:
        if len(needs) == 1:
            return [self._answer(needs[0])]
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="svcdoctor-list")
        try:
            futures = [pool.submit(self._answer, need) for need in needs]
            answers = [future.result() for future in futures]
        except BaseException:
            # The first problem is the user's answer; it does not wait for the other lists.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return answers

    def _answer(self, need: Need) -> _Answer:
        info, scope = KINDS[need.kind], need.scope
        if need.kind is Kind.CONFIG_MAP:
            return self._config_maps(info, scope)
        answer = self._read(info, scope)
        if (
            info.namespaced
            and scope.namespace is None
            and isinstance(answer, Refusal)
            and answer.status == 403
        ):
            rest = self._settled(info, scope, answer)
            mine = replace(scope, namespace=self.namespace)
            own = self._settled(info, mine)
            return _Answer((*own.facts, *rest.facts), own.objects) if own.covers(mine) else rest
        return self._settled(info, scope, answer)

    def _config_maps(self, info: KindInfo, scope: Scope) -> _Answer:
        """Those of the ConfigMaps in question that are read at all, one by one and by name."""
        named = [Scope(namespace, name=name) for namespace, name in sorted(CONFIG_MAPS)]
        answers = [self._settled(info, one) for one in named if scope.covers(one) or one.covers(scope)]
        facts = [fact for answer in answers for fact in answer.facts]
        unknown = next((fact for fact in facts if isinstance(fact, Unknown)), None)
        whole = Known(scope) if unknown is None else replace(unknown, scope=scope)
        return _Answer((*facts, whole), tuple(obj for answer in answers for obj in answer.objects))

    def _settled(
        self, info: KindInfo, scope: Scope, answer: tuple[KubeObject, ...] | Refusal | None = None
    ) -> _Answer:
        """The facts that follow from what the server answers, which is asked where it was not yet."""
        if answer is None:
            answer = self._read(info, scope)
        if isinstance(answer, Refusal):
            return self._refused(info, scope, answer)
        return _Answer((Known(scope),), answer)

    def _read(self, info: KindInfo, scope: Scope) -> tuple[KubeObject, ...] | Refusal:
        answer = self._read_preferred(info, scope)
        older = info.versions[1:] if info.kind in _OPTIONAL else ()
        if older and isinstance(answer, Refusal) and answer.status == 404:
            return self._read(replace(info, versions=older), scope)
        return answer

    def _read_preferred(self, info: KindInfo, scope: Scope) -> tuple[KubeObject, ...] | Refusal:
        path = info.path(quote(scope.namespace, safe="") if scope.namespace else None)
        if _by_name(info, scope):
            return read_object(self.session, info, f"{path}/{quote(scope.name or '', safe='')}")
        params = {}
        if scope.labels:
            params["labelSelector"] = ",".join(f"{key}={value}" for key, value in scope.labels)
        if scope.name is not None:
            params["fieldSelector"] = f"metadata.name={scope.name}"
        return read_list(self.session, info, path, params)

    def _refused(self, info: KindInfo, scope: Scope, refusal: Refusal) -> _Answer:
        """What a refusal means for the facts. Raises SvcdoctorError where it holds for everything."""
        by_name = _by_name(info, scope)
        if refusal.status == 404 and (info.kind in _OPTIONAL or (by_name and not refusal.not_served)):
            return _Answer((Known(scope),))
        if refusal.status == 403:
            self._check_identity(refusal.message)
            return _Answer((forbidden(info, scope, refusal.message, by_name=by_name),))
        if refusal.status == 404 and not info.group:
            raise SvcdoctorError(
                f"{self.session.place}: there are no {info.plural} in its API; check that it is the address of a "
                "Kubernetes API server",
                3,
            )
        if refusal.status == 404:
            reason = f"the API server does not serve {info.resource} ({info.versions[0]})"
            return _Answer((Unknown(reason, "a Kubernetes version that serves it", scope),))
        reason = f"the API server answers {refusal.status}: {shortened(refusal.message)}"
        check = f"run again later; kubectl get --raw {info.path(scope.namespace)}?limit=1 shows whether it answers"
        return _Answer((Unknown(reason, check, scope),))

    def _check_identity(self, message: str) -> None:
        """Raises SvcdoctorError where no grant for a resource helps: the request has the wrong user."""
        if refused_user(message) == "system:anonymous":
            raise SvcdoctorError(
                f"{self.session.place}: the request came without credentials (user system:anonymous); name "
                "some with --user, --token or --context",
                3,
            )
        if "cannot impersonate resource" in message:
            raise SvcdoctorError(
                f"{self.session.place}: {shortened(message)}; leave --as out, or have the verb impersonate "
                "granted",
                3,
            )


def _by_name(info: KindInfo, scope: Scope) -> bool:
    """Whether one object is meant that can be asked for by its name."""
    return scope.name is not None and (scope.namespace is not None or not info.namespaced)


def _plain(need: Need) -> Need:
    """The need in the one way to say it, so that equal ones are equal."""
    namespace = need.scope.namespace if KINDS[need.kind].namespaced else None
    labels = tuple(sorted(set(need.scope.labels)))
    return Need(need.kind, Scope(namespace, labels, need.scope.name))


def _covers(larger: Need, need: Need) -> bool:
    return larger.kind is need.kind and larger.scope.covers(need.scope)
