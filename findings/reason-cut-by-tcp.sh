#!/bin/sh
# Guess: how TCP cuts the bytes of a frame is hidden by a library that hands out whole messages, so a close frame with
# 1000 "bye" means the same in one segment and in two.
# Version: curl_cffi 0.17.0 (PyPI; it brings its own libcurl).
# Behaviour: libcurl hands out whatever has arrived of a frame. curl_cffi joins the pieces of a text, but takes the
# first piece of a close frame for the whole: the reason ends where the segment did, and if the segment ends inside
# the code, the close counts as a protocol error: the server is told 1002, and the program sees an exception in place
# of on_close.
# Output seen:
#   whole: text hello; on_close 1000 bye; server told 1000
#   cut after 6 of 7 bytes: text hello; on_close 1000 by; server told 1000
#   cut after 4 of 7 bytes: text hello; on_close 1000; server told 1000
#   cut after 3 of 7 bytes: text hello; WebSocketError; server told 1002
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install curl_cffi==0.17.0
cat >probe.py <<'PY'
import base64, hashlib, socket, threading, time
from curl_cffi import WebSocket, WebSocketError
listener = socket.create_server(("127.0.0.1", 0))
url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"

def serve(cut, seen):
    stream = listener.accept()[0]
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = stream.recv(4096).decode()
    key = [line.split()[1] for line in request.splitlines() if line.lower().startswith("sec-websocket-key:")][0]
    accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    for frame in (b"\x81\5hello", b"\x88\5\x03\xe8bye"):
        stream.sendall(frame[:cut])
        time.sleep(0.3)  # the client reads the first segment before the second is sent
        stream.sendall(frame[cut:])
    answer = stream.recv(100)
    unmasked = bytes(byte ^ answer[2 + i] for i, byte in enumerate(answer[6:8]))
    seen.append(f"server told {int.from_bytes(unmasked, 'big')}")
    stream.close()

for cut in (7, 6, 4, 3):
    seen, told = [], []
    server = threading.Thread(target=serve, args=(cut, told))
    server.start()
    try:
        WebSocket(on_message=lambda _, text: seen.append(f"text {text}"),
                  on_close=lambda _, code, reason: seen.append(f"on_close {code} {reason}".strip())).run_forever(url)
    except WebSocketError as error:
        seen.append("WebSocketError")
    server.join()
    print("whole:" if cut == 7 else f"cut after {cut} of 7 bytes:", "; ".join(seen + told))
PY
venv/bin/python probe.py 2>/dev/null | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
