#!/bin/sh
# Guess: 1012 (Service Restart), 1013 (Try Again Later) and 1014 (Bad Gateway) are side by side in IANA's registry, so
# a client library either knows all three or none, and gives its application the code that it received.
# Versions: wsproto 1.3.2, lomond 0.3.4 (PyPI); faye-websocket 0.11.4, ws 8.23.0 (npm).
# Behaviour: wsproto and lomond take 1012 and 1013, but answer 1014 with 1002, a protocol error. faye-websocket
# reports 1002 for each of the three and keeps the server's reason, so its application reads "1002 bad gateway".
# Output seen:
#   wsproto 1013 sees 1013 bye, answers 1013
#   wsproto 1014 sees 1002 CLOSE with unknown reserved code, answers 1002
#   lomond 1013 sees 1013 bye, answers 1013
#   lomond 1014 sees no code, answers 1002
#   faye-websocket 1013 sees 1002 bye, answers 1002
#   faye-websocket 1014 sees 1002 bye, answers 1002
#   ws 1013 sees 1013 bye, answers 1013
#   ws 1014 sees 1014 bye, answers 1014
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install wsproto==1.3.2 lomond==0.3.4
npm install --silent --no-audit --no-fund faye-websocket@0.11.4 ws@8.23.0 >/dev/null
cat >client.js <<'JS'
const [, , name, url] = process.argv
const socket = new (name === 'ws' ? require('ws') : require('faye-websocket').Client)(url)
socket.onclose = event => { console.log(event.code, event.reason); process.exit() }
JS
cat >client.py <<'PY'
import socket, sys
name, url = sys.argv[1:]
if name == "lomond":
    import lomond
    codes = [f"{e.code} {e.reason}" for e in lomond.WebSocket(url).connect(ping_rate=0) if e.name == "closing"]
    print(*codes or ["no code"])
else:
    from wsproto import ConnectionType, WSConnection, events
    client = WSConnection(ConnectionType.CLIENT)
    stream = socket.create_connection(("127.0.0.1", url[:-1].split(":")[2]))
    stream.sendall(client.send(events.Request(host="localhost", target="/")))
    while data := stream.recv(100):
        client.receive_data(data)
        for event in client.events():
            if isinstance(event, events.CloseConnection):
                print(event.code, event.reason)
                stream.sendall(client.send(event.response()))
PY
cat >probe.py <<'PY'
import base64, hashlib, socket, subprocess
listener = socket.create_server(("127.0.0.1", 0))
url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
for name in ("wsproto", "lomond", "faye-websocket", "ws"):
    program = ["node", "client.js"] if name in ("faye-websocket", "ws") else ["venv/bin/python", "client.py"]
    for code in (1013, 1014):
        client = subprocess.Popen([*program, name, url], stdout=subprocess.PIPE, text=True)
        stream = listener.accept()[0]
        request = stream.recv(4096).decode()
        key = [line.split()[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")][0]
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x88\5" + code.to_bytes(2, "big") + b"bye")
        answer = stream.recv(200)
        unmasked = bytes(byte ^ answer[2 + i] for i, byte in enumerate(answer[6:8]))
        stream.close()
        print(name, code, "sees", client.communicate()[0].strip() + ", answers", int.from_bytes(unmasked, "big"))
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
