# SPDX-License-Identifier: Apache-2.0
"""Tornado itself, as the example of tornado.tcpserver; with --variant uvloop on uvloop."""

import argparse
import asyncio

from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer


class EchoServer(TCPServer):
    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            while True:
                data = await stream.read_bytes(65536, partial=True)
                await stream.write(data)
        except StreamClosedError:
            pass


class LineServer(TCPServer):
    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            while True:
                line = await stream.read_until(b"\n")
                await stream.write(line)
        except StreamClosedError:
            pass


async def main(arguments):
    server = LineServer() if arguments.mode == "lines" else EchoServer()
    sockets = bind_sockets(arguments.port, "127.0.0.1", backlog=1024)
    server.add_sockets(sockets)
    print("Listening on 127.0.0.1:%d" % sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", choices=["echo", "lines"], default="echo")
    parser.add_argument("--buffer", help="not used: the stream has its own")
    parser.add_argument("--variant", choices=["asyncio", "uvloop"], default="asyncio")
    arguments = parser.parse_args()
    if arguments.variant == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(arguments))
