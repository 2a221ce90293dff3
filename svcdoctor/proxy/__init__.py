"""Moves clients' bytes to endpoints: listeners, the balancer, dialers, relays, on one loop."""
