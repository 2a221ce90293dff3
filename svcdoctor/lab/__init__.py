"""A Kubernetes API server, and a Service network behind it, to learn, demonstrate and test with."""
