//! Raw frames (RFC 6455, section 5.2). Clients' frames have a mask of zeros, so their payload stays readable.

pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// A text in fragments: its first frame, those between, and its last.
pub const FIRST: u8 = 0x01;
pub const MORE: u8 = 0x00;
pub const LAST: u8 = 0x80;

/// A client's frame with any first byte, allowed or not.
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&header(first, payload.len()), payload].concat()
}

/// The header of a client's frame that announces `length` bytes.
pub fn header(first: u8, length: usize) -> Vec<u8> {
    let length = match length {
        0..126 => vec![length as u8],
        126..65_536 => [&[126], &(length as u16).to_be_bytes()[..]].concat(),
        _ => [&[127], &(length as u64).to_be_bytes()[..]].concat(),
    };
    let masked = length[0] | 0x80;
    [&[first, masked], &length[1..], &[0; 4]].concat()
}

/// A close frame from the server, which doesn't mask.
pub fn server_close(code: u16, reason: &str) -> Vec<u8> {
    let length = 2 + reason.len() as u8;
    [&[CLOSE, length], &code.to_be_bytes()[..], reason.as_bytes()].concat()
}
