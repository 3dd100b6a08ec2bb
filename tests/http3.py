"""A client of HTTP/3 (aioquic): http3.py PORT METHOD PATH COUNT sends COUNT requests at once over one connection, each with as
many bytes as standard input has, and prints a line of JSON for each answer: its status, its header, and the length and begin of its body."""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}

    def quic_event_received(self, event):
        for found in self.http.handle_event(event):
            if not isinstance(found, (HeadersReceived, DataReceived)):
                continue
            answer = self.answers[found.stream_id]
            if isinstance(found, HeadersReceived):
                answer["header"].update((name.decode(), value.decode()) for name, value in found.headers)
            else:
                answer["body"] += found.data
            if found.stream_ended:
                answer["ended"].set()

    async def send(self, port, method, path, body):
        stream = self._quic.get_next_available_stream_id()
        answer = self.answers[stream] = {"header": {}, "body": b"", "ended": asyncio.Event()}
        header = {":method": method, ":scheme": "https", ":authority": f"localhost:{port}", ":path": path}
        lines = [(name.encode(), value.encode()) for name, value in header.items()]
        self.http.send_headers(stream, lines, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        await answer["ended"].wait()
        header = answer["header"]
        body = answer["body"]
        begin = body[:10_000].decode(errors="replace")
        return {"status": int(header[":status"]), "header": header, "length": len(body), "body": begin}


async def main(port, method, path, count):
    body = sys.stdin.buffer.read()
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="localhost")
    async with connect("127.0.0.1", int(port), configuration=settings, create_protocol=Client) as client:
        sent = [client.send(port, method, path, body) for _ in range(int(count))]
        for answer in await asyncio.wait_for(asyncio.gather(*sent), 30):
            print(json.dumps(answer))


asyncio.run(main(*sys.argv[1:]))
