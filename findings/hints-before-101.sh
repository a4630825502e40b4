#!/bin/sh
# Guess: a client skips a 103 (Early Hints) that comes before the 101, and an unexpected 100 (Continue), too: RFC 9110,
# 15.2, says that a client must be able to parse 1xx responses received before the final one.
# Versions: undici 7.30.2, ws 8.23.0 (npm); aiohttp 3.14.5, picows 2.3.1, websocket-client 1.9.2, websockets 17.4
# (PyPI).
# Behaviour: picows, websocket-client and websockets, which have their own response parsers, mistake either for the
# final response and fail the connection. undici skips a 103, but fails after a 100. aiohttp and ws join after both.
# Output seen:
#   undici 100: close 1006
#   undici 103: hello
#   ws 100: hello
#   ws 103: hello
#   aiohttp 100: hello
#   aiohttp 103: hello
#   picows 100: WSInvalidStatusError
#   picows 103: WSInvalidStatusError
#   websocket-client 100: WebSocketBadStatusException
#   websocket-client 103: WebSocketBadStatusException
#   websockets 100: InvalidStatus
#   websockets 103: InvalidStatus
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv
venv/bin/pip -q install aiohttp==3.14.5 picows==2.3.1 websocket-client==1.9.2 websockets==17.4
npm install --silent --no-audit --no-fund undici@7.30.2 ws@8.23.0 >/dev/null
cat >client.js <<'JS'
const [, , name, url] = process.argv
const socket = new (name === 'ws' ? require('ws') : require('undici').WebSocket)(url)
const tell = text => { console.log(text); process.exit() }
socket.onmessage = event => tell(event.data)
socket.onerror = () => {}
socket.onclose = event => tell('close ' + event.code)
JS
cat >client.py <<'PY'
import asyncio, logging, sys
import aiohttp, picows, websocket, websockets
logging.disable()
name, url = sys.argv[1:]

class Listener(picows.WSListener):
    def on_ws_frame(self, transport, frame):
        print(frame.get_payload_as_utf8_text())
        transport.disconnect()

async def main():
    if name == "aiohttp":
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            print(await socket.receive_str())
    elif name == "picows":
        await (await picows.ws_connect(Listener, url))[0].wait_disconnected()
    elif name == "websocket-client":
        print(websocket.create_connection(url).recv())
    else:
        async with websockets.connect(url) as socket:
            print(await socket.recv())

try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__)
PY
cat >probe.py <<'PY'
import base64, hashlib, socket, subprocess
listener = socket.create_server(("127.0.0.1", 0))
url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
for name in ("undici", "ws", "aiohttp", "picows", "websocket-client", "websockets"):
    program = ["node", "client.js"] if name in ("undici", "ws") else ["venv/bin/python", "client.py"]
    for status in (b"100 Continue\r\n", b"103 Early Hints\r\nLink: </style.css>; rel=preload\r\n"):
        client = subprocess.Popen([*program, name, url], stdout=subprocess.PIPE, text=True)
        stream = listener.accept()[0]
        request = stream.recv(4096).decode()
        key = [line.split()[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")][0]
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        stream.sendall(b"HTTP/1.1 " + status + b"\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81\5hello\x88\2\x03\xe8")
        print(name, status[:3].decode() + ":", client.communicate()[0].strip(), flush=True)
        stream.close()
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
