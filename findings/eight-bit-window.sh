#!/bin/sh
# Guess: a client that offers `client_max_window_bits` without a value can compress with any window from 8 to 15 bits.
# A server answers with the size that it wants (RFC 7692, 7.1.2.2); if that is 8, the client connects, as with 9.
# Versions: undici 7.30.2, ws 8.23.0 (npm); aiohttp 3.14.5, tornado 6.6.1, websockets 17.4 (PyPI).
# Behaviour: all five make this offer, but aiohttp, tornado and websockets fail the connection when a server accepts
# it with 8. (zlib has no raw DEFLATE with 8 bits. tornado tries all the same, and says that the stream is closed.)
# ws joins, and what it then sends can be read with a window of 256 bytes. undici joins, too, but never compresses.
# Output seen:
#   undici with 8: plain text; with 9: plain text
#   ws with 8: compressed for 8; with 9: compressed for 9
#   aiohttp with 8: WSServerHandshakeError; with 9: compressed for 9
#   tornado with 8: StreamClosedError; with 9: compressed for 9
#   websockets with 8: NegotiationError; with 9: compressed for 9
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install aiohttp==3.14.5 tornado==6.6.1 websockets==17.4
npm install --silent --no-audit --no-fund undici@7.30.2 ws@8.23.0 >/dev/null
cat >client.js <<'JS'
const [, , name, url, text] = process.argv
const socket = new (name === 'ws' ? require('ws') : require('undici').WebSocket)(url)
socket.onopen = () => socket.send(text)
JS
cat >client.py <<'PY'
import asyncio, logging, sys
import aiohttp, tornado.websocket, websockets
logging.disable()
name, url, text = sys.argv[1:]

async def main():
    if name == "aiohttp":
        async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
            await socket.send_str(text)
    elif name == "tornado":
        await (await tornado.websocket.websocket_connect(url, compression_options={})).write_message(text)
    else:
        await (await websockets.connect(url)).send(text)

try:
    asyncio.run(main())
except Exception as error:
    print(type(error).__name__)
PY
cat >probe.py <<'PY'
import base64, hashlib, socket, subprocess, zlib
listener = socket.create_server(("127.0.0.1", 0))
url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
text = 2 * "".join(map(str, range(200)))  # repeats itself after 490 bytes

def inflate(data, bits):
    inflater, output, data = zlib.decompressobj(-bits), b"", data + b"\0\0\xff\xff"
    while len(output) < len(text):  # a byte at a time, so that what is read must be in the window
        output += inflater.decompress(data, 1)
        data = inflater.unconsumed_tail
    return output

for name in ("undici", "ws", "aiohttp", "tornado", "websockets"):
    program = ["node", "client.js"] if name in ("undici", "ws") else ["venv/bin/python", "client.py"]
    seen = []
    for bits in (8, 9):
        client = subprocess.Popen([*program, name, url, text], stdout=subprocess.PIPE, text=True)
        stream = listener.accept()[0]
        request = stream.recv(4096).decode()
        assert "permessage-deflate; client_max_window_bits\r\n" in request
        key = [line.split()[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")][0]
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=%d\r\n"
                       b"Sec-WebSocket-Accept: %b\r\n\r\n" % (bits, accept))
        frame = stream.recv(4096)  # four bytes with the length, and four for the mask
        if frame[:1] == b"\xc1":
            data = bytes(byte ^ frame[4 + i % 4] for i, byte in enumerate(frame[8:]))
            assert inflate(data, bits).decode() == text
        what = f"compressed for {bits}" if frame[:1] == b"\xc1" else "plain text"
        seen.append(f"with {bits}: {what if frame else client.communicate()[0].strip()}")
        client.kill()
    print(name, "; ".join(seen))
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
