"""A real Service network on one machine: network namespaces as nodes, pods and a client, and faults to inject."""
