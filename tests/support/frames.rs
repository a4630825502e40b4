//! Raw frames (RFC 6455, section 5.2). Clients' frames have a mask of zeros, so their payload stays readable.

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
/// The bit that marks a message's last frame.
pub const FIN: u8 = 0x80;

/// A whole message or control frame from a client.
pub fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    raw(FIN | opcode, payload)
}

/// The first frames of a fragmented message, or those in the middle.
pub fn fragment(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    raw(opcode, payload)
}

/// With any first byte, allowed or not.
pub fn raw(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&header(first, payload.len() as u64), payload].concat()
}

/// The header of a client's frame that announces `length` bytes.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let length = match length {
        0..126 => vec![length as u8],
        126..65_536 => [&[126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[127], &length.to_be_bytes()[..]].concat(),
    };
    let masked = length[0] | 0x80;
    [&[first, masked], &length[1..], &[0; 4]].concat()
}

/// The longest ping or pong (section 5.5).
pub fn longest(opcode: u8) -> Vec<u8> {
    frame(opcode, [b'x'; 125])
}

/// A close frame from the server, which doesn't mask.
pub fn server_close(code: u16, reason: &str) -> Vec<u8> {
    let length = 2 + reason.len() as u8;
    [&[0x88, length], &code.to_be_bytes()[..], reason.as_bytes()].concat()
}
