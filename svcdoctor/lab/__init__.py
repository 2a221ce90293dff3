"""A Kubernetes API server to learn, demonstrate and test with."""
