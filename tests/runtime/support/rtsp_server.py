"""An RTSP camera on this machine: pictures as RTP/JPEG (RFC 2435), inside the connection that asked for them."""

import base64
import socketserver
import struct
from collections.abc import Iterator

_SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track\r\n"
_ANSWERS = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(_SDP)}\r\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
}
_CREDENTIALS = "anna:secret"
# Of a JPEG's segments.
_SIZES, _TABLES, _SCAN = 0xC0, 0xDB, 0xDA
# Of a clock of 90,000 a second: 25 frames.
_TICKS = 3600


class RtspServer(socketserver.ThreadingTCPServer):
    """Plays the next list of pictures to each who asks and knows the password, and hangs up.

    Attributes:
        port: that it listens on.
        url: with the name and the password that it asks for.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, *connections: list[bytes], port: int = 0) -> None:
        """Listen.

        Args:
            connections: JPEG files of OpenCV's (baseline, 4:2:0), sides multiples of 8 and at most 60 kB each.
            port: to listen on; 0 takes a free one.
        """
        super().__init__(("127.0.0.1", port), _Connection)
        self.connections = list(connections)
        self.port: int = self.server_address[1]
        self.url = f"rtsp://{_CREDENTIALS}@127.0.0.1:{self.port}/camera"


class _Connection(socketserver.StreamRequestHandler):
    server: RtspServer

    def handle(self) -> None:
        for method, headers in self._requests():
            if headers.get("authorization") != f"Basic {base64.b64encode(_CREDENTIALS.encode()).decode()}":
                self._answer("401 Unauthorized", headers, 'WWW-Authenticate: Basic realm="camera"\r\n')
                continue
            self._answer("200 OK", headers, _ANSWERS.get(method, "Session: 1\r\n"))
            if method == "DESCRIBE":
                self.wfile.write(_SDP)
            if method == "PLAY":
                self._play(self.server.connections.pop(0) if self.server.connections else [])
                return

    def _requests(self) -> Iterator[tuple[str, dict[str, str]]]:
        while line := self.rfile.readline().decode():
            pairs = iter(lambda: self.rfile.readline().decode().strip(), "")
            yield line.split()[0], {name.lower(): value.strip() for name, _, value in (p.partition(":") for p in pairs)}

    def _answer(self, status: str, headers: dict[str, str], lines: str) -> None:
        self.wfile.write(f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{lines}\r\n".encode())

    def _play(self, pictures: list[bytes]) -> None:
        for number, picture in enumerate(pictures):
            # Version 2; the last packet of its picture, in payload type 26.
            head = struct.pack(">BBHII", 0x80, 0x80 | 26, number, number * _TICKS, 1)
            packet = head + _payload(picture)
            self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def _payload(jpeg: bytes) -> bytes:
    """A JPEG without what RFC 2435 leaves out: its header but for sizes and quantisation tables."""
    tables, place = b"", 2
    while jpeg[place + 1] != _SCAN:
        marker, length = struct.unpack(">xBH", jpeg[place : place + 4])
        if marker == _TABLES:
            tables += jpeg[place + 5 : place + 2 + length]
        if marker == _SIZES:
            height, width = struct.unpack(">HH", jpeg[place + 5 : place + 9])
        place += 2 + length
    (length,) = struct.unpack(">H", jpeg[place + 2 : place + 4])
    scan = jpeg[place + 2 + length : -2]
    # Fragment offset 0, 4:2:0, tables in the packet.
    return struct.pack(">IBBBBHH", 0, 1, 255, width // 8, height // 8, 0, len(tables)) + tables + scan
