"""Captured packets, pure: frames, pcapng files, and the legs of one connection joined across NAT."""
