#!/bin/sh
# Guess: a library's two client APIs report the same: an empty text is a message like any other, and a close
# frame with 1001 that was answered is a clean close.
# Version: websocket 1.0.35 (npm).
# Behaviour: its W3C API calls `onmessage` for "a" and "b", but never for the empty text between them; the older API
# hears all three. `wasClean` is true for code 1000 alone, although the closing handshake took place with 1001 as
# well.
# Output seen:
#   client: "a" "" "b" close 1000
#   W3C: "a" "b" close 1000, clean true
#   client: "a" "" "b" close 1001
#   W3C: "a" "b" close 1001, clean false
set -eu
script=$(realpath "$0"); dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm install --silent --no-audit --no-fund websocket@1.0.35 >/dev/null
cat >probe.js <<'JS'
const { client: Client, w3cwebsocket: W3C } = require('websocket')
const { createHash } = require('crypto')
let code // that the server sends

const server = require('http').createServer().on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${createHash('sha1').update(key).digest('base64')}\r\n\r\n`)
  const frames = [0x81, 1, 97, 0x81, 0, 0x81, 1, 98, 0x88, 2, code >> 8, code & 255]
  setTimeout(() => socket.write(Buffer.from(frames)), 100) // once the client has its handlers
  socket.once('data', () => socket.end()) // the client's close frame
})
server.listen(0, '127.0.0.1', async () => {
  const url = `ws://127.0.0.1:${server.address().port}/`
  for (code of [1000, 1001]) {
    await new Promise(resolve => {
      const heard = []
      new Client().on('connect', connection => {
        connection.on('message', message => heard.push(JSON.stringify(message.utf8Data)))
        connection.on('close', code => resolve(console.log('client:', ...heard, 'close', code)))
      }).connect(url)
    })
    await new Promise(resolve => {
      const socket = new W3C(url), heard = []
      socket.onmessage = event => heard.push(JSON.stringify(event.data))
      socket.onclose = event => resolve(console.log('W3C:', ...heard, 'close', event.code + ', clean', event.wasClean))
    })
  }
  process.exit()
})
JS
node probe.js | tee seen
sed -n 's/^#   //p' "$script" | cmp - seen
