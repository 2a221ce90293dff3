"""A packet through one node: netfilter's rules, routing, the way a node decides. Pure: facts in, outcomes out."""
