"""Serving Services in kube-proxy's place: the control process, the workers, and what they say to each other."""
