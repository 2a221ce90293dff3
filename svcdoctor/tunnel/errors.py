"""What ends a session: the other side broke a protocol, or asks for more than is held for it."""


class TunnelError(Exception):
    """The session is over; the text says what was wrong. Forwards of other sessions are not touched."""


class SpdyError(TunnelError):
    """The other side does not speak SPDY/3.1, or exceeds a limit of ours."""


class WebSocketError(TunnelError):
    """The other side does not speak WebSocket as RFC 6455 has it, or exceeds a limit of ours."""


class ChannelError(TunnelError):
    """The other side does not speak v4.channel.k8s.io."""
