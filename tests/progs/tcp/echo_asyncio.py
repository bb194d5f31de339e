# SPDX-License-Identifier: MIT
"""echo_asyncio.py PORT: sends back what comes, until the end of it, on IPv4 and IPv6."""

import asyncio
import sys


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main(port):
    server = await asyncio.start_server(echo, None, int(port), backlog=128)
    async with server:
        await server.serve_forever()


asyncio.run(main(sys.argv[1]))
