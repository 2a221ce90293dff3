"""Where facts come from: the live API, an archive or folder, manifests."""
