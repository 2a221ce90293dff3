"""The trace: request, clients, entries, hops, outcomes."""
