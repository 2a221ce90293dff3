"""Kernel mode: Services carried by nftables rules of svcdoctor's own, in a table that nothing else touches.

plane.py       KernelPlane: what the control process calls; when what is done
site.py        site_of(own): how packets of pods are told here
compile.py     compiled(ports, site) -> Ruleset, whose text is what --dry-run prints; Ruleset.changed(put, removed)
delta.py       delta(old, new): what ``nft -f`` must do to get from one to the other
layout.py      what every table has: hooks, maps, and the rules that look them up
portrules.py   the rules of one port
statements.py  nftables' statements that rules for Services are made of; the lab writes kube-proxy's with them
tabletext.py   tables as text
apply.py       running nft: one transaction for each change, cleanup()
claim.py       one process at a time has the table of a network namespace: Claim, holder()
promise.py     what a served port promises its clients
verify.py      the evaluator's word on it: each Contradiction names another table's rule, if one is to blame
judge.py       this node's rules, with the compiled ones among them
evaluated.py   compiled rules as the evaluator reads them
ending.py      the end: rules go, connections go on as long as they can
conntrack.py   conntrack's entries
flows.py       UDP flows that conntrack still sends where the rules no longer do
"""
