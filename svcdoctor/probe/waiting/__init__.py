"""Waiting until a Service is usable: what is looked at again and again, and when it is over."""
