"""What the API server (Kubernetes v1.36) refuses in manifests, rule by rule, in its own words."""
