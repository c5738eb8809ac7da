//! Requests and responses on a stream: a length and SCALE bytes, bounded before they are read.

use std::io;

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::Codec;

/// Reads and writes messages of bounded length; decoding them is the reader's.
#[derive(Clone, Copy, Debug)]
pub struct BoundedCodec {
    /// Bytes of a request.
    pub request_bytes_max: usize,
    /// Bytes of a response.
    pub response_bytes_max: usize,
}

/// Reads a message: its length as a `u32`, little-endian, then so many bytes and no more.
async fn read(io: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length);
    if length as usize > bytes_max {
        let text = format!("a message of {length} bytes, at most {bytes_max} are read");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // What is announced is not allocated before it arrives.
    let mut bytes = Vec::new();
    io.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 != u64::from(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    bytes_max: usize,
) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok();
    let Some(length) = length.filter(|length| *length as usize <= bytes_max) else {
        let text = format!(
            "a message of {} bytes, at most {bytes_max} are sent",
            bytes.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(bytes).await?;
    io.close().await
}

impl Codec for BoundedCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.request_bytes_max).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.response_bytes_max).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request, self.request_bytes_max).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response, self.response_bytes_max).await
    }
}

#[cfg(test)]
mod tests {
    use libp2p::futures::io::Cursor;
    use proptest::prelude::*;

    use super::*;

    fn read_now(bytes: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
        libp2p::futures::executor::block_on(read(&mut Cursor::new(bytes), bytes_max))
    }

    #[test]
    fn lengths_are_checked_before_bytes_are_read() {
        let mut written = Vec::new();
        libp2p::futures::executor::block_on(write(&mut written, b"hello", 5))
            .expect("short enough");
        assert_eq!(written, b"\x05\0\0\0hello");
        assert_eq!(read_now(&written, 5).expect("whole"), b"hello");
        let error = read_now(&written, 4).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(read_now(&written[..8], 5).is_err(), "cut off");
        assert!(read_now(&u32::MAX.to_le_bytes(), 1 << 20).is_err());
        let refused = libp2p::futures::executor::block_on(write(&mut Vec::new(), b"hello", 4));
        assert!(refused.is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_no_more_than_its_length(bytes: Vec<u8>) {
            if let Ok(read) = read_now(&bytes, 64) {
                prop_assert!(read.len() <= 64 && bytes[4..].starts_with(&read));
            }
        }
    }
}
