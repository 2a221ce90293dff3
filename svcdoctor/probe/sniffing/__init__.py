"""Live capture on this node, and files of packets."""
