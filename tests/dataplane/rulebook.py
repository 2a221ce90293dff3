"""Rules written directly in the common language: a table of chains of (tests, actions)."""

from svcdoctor.dataplane.language import BaseChain, Chain, Op, Rule


class Plain:
    """A dialect whose raw rule is a pair of tests and actions; a JUMP or GOTO names its chain."""

    def __init__(self):
        self.chains = {}
        self.translated = 0

    def chain(self, name, *raws):
        self.chains[name] = Chain("t", name, self, raws)
        return self.chains[name]

    def translate(self, chain, number, raw):
        self.translated += 1
        tests, actions = raw[0], raw[1]
        resolved = [(op, self.chains[a]) if op in (Op.JUMP, Op.GOTO) else (op, a) for op, a in actions]
        return Rule(chain, number, raw, tests, resolved)

    def key(self, raw):
        return raw[2] if len(raw) > 2 else (None, None)

    def text(self, raw):
        return " ".join(op.name for op, _ in raw[1])

    def packets(self, raw):
        return None


def base(chain, hook="prerouting", priority=0, kind="filter", accepts=True, families=(4, 6)):
    return BaseChain(chain, hook, priority, kind, frozenset(families), "nftables", accepts)


class Ruleset:
    where = "test"
    backend = "nftables"

    def __init__(self, *bases):
        self._bases = bases

    def base_chains(self):
        return self._bases


def yes(packet):
    return True


def no(packet):
    return False


def perhaps(packet):
    return "module foo is not modelled"


def to(port):
    return lambda packet: packet.dport == port


ACCEPT, DROP, RETURN = [(Op.ACCEPT, None)], [(Op.DROP, None)], [(Op.RETURN, None)]
