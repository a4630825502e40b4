#!/bin/sh
# Guess: a server refuses a WebSocket handshake in HTTP/1.0, or answers with its page: a server must ignore `Upgrade`
# there (RFC 9110, 7.8), and the handshake needs HTTP/1.1 (RFC 6455, 4.2.1).
# Versions: ws 8.23.0, websocket 1.0.35 (npm); aiohttp 3.14.5, tornado 6.6.1, websockets 17.4 (PyPI).
# Behaviour: four of the five answer 101, aiohttp even as HTTP/1.0. tornado then ends the connection without a frame,
# while the other three go on as with HTTP/1.1. Only websockets refuses. (So a proxy that speaks HTTP/1.0 may go
# unnoticed until the server behind it is replaced.)
# Output seen:
#   ws: HTTP/1.1 101, hello
#   websocket: HTTP/1.1 101, hello
#   aiohttp: HTTP/1.0 101, hello
#   tornado: HTTP/1.1 101, end of stream
#   websockets: HTTP/1.1 505, refused
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install aiohttp==3.14.5 tornado==6.6.1 websockets==17.4
npm install --silent --no-audit --no-fund ws@8.23.0 websocket@1.0.35 >/dev/null
cat >server.js <<'JS'
const name = process.argv[2]
const server = require('http').createServer()
if (name === 'ws') {
  new (require('ws').Server)({ server }).on('connection', socket => socket.send('hello'))
} else {
  new (require('websocket').server)({ httpServer: server, autoAcceptConnections: true })
    .on('connect', connection => connection.send('hello'))
}
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
JS
cat >server.py <<'PY'
import asyncio, logging, socket, sys
import aiohttp.web, tornado.httpserver, tornado.web, tornado.websocket, websockets
logging.disable()

async def handle_aiohttp(request):
    response = aiohttp.web.WebSocketResponse()
    await response.prepare(request)
    await response.send_str("hello")
    return response

class Handler(tornado.websocket.WebSocketHandler):
    def open(self):
        self.write_message("hello")

async def handle_websockets(connection):
    await connection.send("hello")

async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    if sys.argv[1] == "aiohttp":
        runner = aiohttp.web.ServerRunner(aiohttp.web.Server(handle_aiohttp))
        await runner.setup()
        await aiohttp.web.SockSite(runner, listener).start()
    elif sys.argv[1] == "tornado":
        tornado.httpserver.HTTPServer(tornado.web.Application([("/", Handler)])).add_socket(listener)
    else:
        await websockets.serve(handle_websockets, sock=listener)
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
PY
cat >probe.py <<'PY'
import socket, subprocess
for name in ("ws", "websocket", "aiohttp", "tornado", "websockets"):
    program = ["node", "server.js"] if name in ("ws", "websocket") else ["venv/bin/python", "server.py"]
    server = subprocess.Popen([*program, name], stdout=subprocess.PIPE)
    stream = socket.create_connection(("127.0.0.1", int(server.stdout.readline())))
    stream.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    lines = stream.makefile("rb")
    status = lines.readline()[:12].decode()
    while lines.readline().strip():
        pass
    what = {b"\x81\5hello": "hello", b"": "end of stream"}[lines.read(7)] if " 101" in status else "refused"
    print(f"{name}: {status}, {what}", flush=True)
    server.kill()
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
