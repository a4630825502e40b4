#!/bin/sh
# Guess: "Connection: keep-alive, Upgrade" in a 101 is as good as "Connection: Upgrade": RFC 6455, 4.1, asks for a
# header with a token Upgrade in it, and HTTP lets such a header be a list.
# Versions: undici 7.30.2, websocket 1.0.35, ws 8.23.0 (npm); aiohttp 3.14.5, tornado 6.6.1, websockets 17.4 (PyPI).
# Behaviour: four of the six compare the whole value with "upgrade" and fail the connection, each in its own way;
# tornado even says that the stream was closed. Chromium 156 and Firefox 153 join.
# Output seen:
#   undici close 1006
#   websocket Error: Expected a Connection: Upgrade header from the server
#   ws joins
#   aiohttp WSServerHandshakeError
#   tornado StreamClosedError
#   websockets joins
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install aiohttp==3.14.5 tornado==6.6.1 websockets==17.4
npm install --silent --no-audit --no-fund undici@7.30.2 websocket@1.0.35 ws@8.23.0 >/dev/null
cat >client.js <<'JS'
const [, , name, url] = process.argv
const tell = text => { console.log(name, text); process.exit() }
if (name === 'websocket') {
  const client = new (require('websocket').client)()
  client.on('connect', () => tell('joins'))
  client.on('connectFailed', error => tell(String(error).split('\n')[0]))
  client.connect(url)
} else {
  const socket = new (name === 'ws' ? require('ws') : require('undici').WebSocket)(url)
  socket.onopen = () => tell('joins')
  socket.onerror = () => {}
  socket.onclose = event => tell('close ' + event.code)
}
JS
cat >probe.py <<'PY'
import asyncio, base64, hashlib, logging
import aiohttp, tornado.websocket, websockets
logging.disable()

async def serve(reader, writer):
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = [line.split()[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")][0]
    accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x88\x02\x03\xe8")  # and a close frame
    await asyncio.wait([asyncio.create_task(reader.read(100))], timeout=1)
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    for name in ("undici", "websocket", "ws"):
        await (await asyncio.create_subprocess_exec("node", "client.js", name, url)).wait()
    async with aiohttp.ClientSession() as session:
        for name, connect in (("aiohttp", session.ws_connect), ("tornado", tornado.websocket.websocket_connect),
                              ("websockets", websockets.connect)):
            try:
                await connect(url)
                print(name, "joins", flush=True)
            except Exception as error:
                print(name, type(error).__name__, flush=True)

asyncio.run(main())
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
