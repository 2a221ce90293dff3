"""Active evidence: connections, DNS queries, raw packets, and what they met."""
