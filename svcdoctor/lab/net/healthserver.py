"""kube-proxy's answer on a healthCheckNodePort: 200 where the node has endpoints of the Service, 503 elsewhere.

``python -m svcdoctor.lab.net.healthserver PORT NAMESPACE NAME ENDPOINTS``
"""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import sys
from typing import Any


def main(port: int, namespace: str, name: str, endpoints: int) -> None:
    """Serve until killed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service = {"namespace": namespace, "name": name}
            body = json.dumps({"service": service, "localEndpoints": endpoints}).encode()
            self.send_response(200 if endpoints else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6
        allow_reuse_address = True

    Server(("::", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
