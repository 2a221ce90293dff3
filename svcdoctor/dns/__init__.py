"""Cluster DNS, pure: resolv.conf, the queries that a name becomes, the records that must exist."""
