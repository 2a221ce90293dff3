"""What differs between two snapshots of a cluster: objects' fields, endpoints, pods, what is around, nodes' rules."""
