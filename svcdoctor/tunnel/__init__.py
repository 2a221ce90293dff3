"""Ways into a pod through the API server: port-forward's protocols, bytes in and bytes out."""
