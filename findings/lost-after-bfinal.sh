#!/bin/sh
# Guess: permessage-deflate lets a sender end a message's last DEFLATE block with BFINAL (RFC 7692, 7.2.3.4, shows it
# with "Hello"), so a receiver that negotiated the extension reads that message and the ones after it.
# Versions: websockets 17.4, tornado 6.6.1, aiohttp 3.14.5 (PyPI); undici 7.30.2, ws 8.23.0 (npm).
# Behaviour: websockets, tornado and undici turn the next compressed message into an empty text, without any error:
# their inflater has reached its end of stream and returns nothing more. ws and aiohttp start a new one and read all
# three.
# Output seen:
#   websockets ['first', '', 'plain']
#   tornado ['first', '', 'plain']
#   aiohttp ['first', 'second', 'plain']
#   undici ["first","","plain"]
#   ws ["first","second","plain"]
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install websockets==17.4 tornado==6.6.1 aiohttp==3.14.5
npm install --silent --no-audit --no-fund undici@7.30.2 ws@8.23.0 >/dev/null
cat >client.js <<'JS'
const [, , name, url] = process.argv, texts = []
const socket = new (name === 'ws' ? require('ws') : require('undici').WebSocket)(url)
socket.onmessage = event => texts.push(event.data)
socket.onclose = () => { console.log(name, JSON.stringify(texts)); process.exit() }
JS
cat >probe.py <<'PY'
import asyncio, base64, hashlib, zlib
import aiohttp, tornado.websocket, websockets

def deflate(text, how):
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(text) + compressor.flush(how)
    return data + b"\0" if how == zlib.Z_FINISH else data[:-4]  # both as in RFC 7692

def frame(first_byte, payload):
    return bytes([first_byte, len(payload)]) + payload

async def serve(reader, writer):
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = [line.split()[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")][0]
    accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    writer.write(frame(0xC1, deflate(b"first", zlib.Z_FINISH)) + frame(0xC1, deflate(b"second", zlib.Z_SYNC_FLUSH)))
    writer.write(frame(0x81, b"plain") + frame(0x88, b"\x03\xe8"))
    await reader.read(100)  # the client's close frame
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with websockets.connect(url) as socket:
        print("websockets", [text async for text in socket], flush=True)
    socket, texts = await tornado.websocket.websocket_connect(url, compression_options={}), []
    while (text := await socket.read_message()) is not None:
        texts.append(text)
    print("tornado", texts, flush=True)
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15) as socket:
        print("aiohttp", [message.data async for message in socket], flush=True)
    for name in ("undici", "ws"):
        await (await asyncio.create_subprocess_exec("node", "client.js", name, url)).wait()

asyncio.run(main())
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
