"""Asking DNS: from here, in a pod, through a tunnel."""
