//! What host and keeper say to each other: frames of one size over a socket, some of them with
//! open files.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// Bytes of a frame.
pub(crate) const FRAME: usize = 24;
/// The most open files that go with a frame.
pub(crate) const FILES: usize = 3;

/// What the host asks of the keeper. `id` names one start of one process, and is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Start a launcher with the socket that goes with it.
    Spawn { id: u64 },
    /// Send a signal to everything that belongs to it.
    Signal { id: u64, signal: i32 },
    /// Kill everything that belongs to it, until nothing is left.
    Kill { id: u64 },
}

/// What the keeper tells the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// It keeps watch.
    Ready,
    /// The launcher runs as this process.
    Spawned { id: u64, pid: u32 },
    /// There is no launcher; the error of the system.
    NotSpawned { id: u64, error: i32 },
    /// The process has ended.
    Exited { id: u64, end: End },
    /// Nothing that belongs to it is left.
    Gone { id: u64 },
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

fn frame(kind: u8, id: u64, value: i64) -> [u8; FRAME] {
    let mut bytes = [0; FRAME];
    bytes[0] = kind;
    bytes[8..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn parts(bytes: &[u8; FRAME]) -> (u8, u64, i64) {
    let number = |at: usize| std::array::from_fn(|i| bytes[at + i]);
    (bytes[0], u64::from_le_bytes(number(8)), i64::from_le_bytes(number(16)))
}

impl Request {
    pub(crate) fn encode(self) -> [u8; FRAME] {
        match self {
            Request::Spawn { id } => frame(1, id, 0),
            Request::Signal { id, signal } => frame(2, id, signal.into()),
            Request::Kill { id } => frame(3, id, 0),
        }
    }

    pub(crate) fn decode(bytes: &[u8; FRAME]) -> Option<Self> {
        let (kind, id, value) = parts(bytes);
        Some(match kind {
            1 => Request::Spawn { id },
            2 => Request::Signal { id, signal: i32::try_from(value).ok()? },
            3 => Request::Kill { id },
            _ => return None,
        })
    }
}

impl Report {
    pub(crate) fn encode(self) -> [u8; FRAME] {
        match self {
            Report::Ready => frame(1, 0, 0),
            Report::Spawned { id, pid } => frame(2, id, pid.into()),
            Report::NotSpawned { id, error } => frame(3, id, error.into()),
            Report::Exited { id, end: End::Code(code) } => frame(4, id, code.into()),
            Report::Exited { id, end: End::Signal(signal) } => frame(5, id, signal.into()),
            Report::Gone { id } => frame(6, id, 0),
        }
    }

    pub(crate) fn decode(bytes: &[u8; FRAME]) -> Option<Self> {
        let (kind, id, value) = parts(bytes);
        let small = i32::try_from(value);
        Some(match kind {
            1 => Report::Ready,
            2 => Report::Spawned { id, pid: u32::try_from(value).ok()? },
            3 => Report::NotSpawned { id, error: small.ok()? },
            4 => Report::Exited { id, end: End::Code(small.ok()?) },
            5 => Report::Exited { id, end: End::Signal(small.ok()?) },
            6 => Report::Gone { id },
            _ => return None,
        })
    }

    /// Whose start it is about.
    pub(crate) fn id(self) -> Option<u64> {
        match self {
            Report::Ready => None,
            Report::Spawned { id, .. }
            | Report::NotSpawned { id, .. }
            | Report::Exited { id, .. }
            | Report::Gone { id } => Some(id),
        }
    }
}

/// Writes all bytes; the files go with the first of them. Waits while the socket is full.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::Error::other("too many files in one message"));
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        // A host that is gone is an error, and not a signal.
        #[cfg(target_os = "linux")]
        let flags = SendFlags::NOSIGNAL;
        #[cfg(not(target_os = "linux"))]
        let flags = SendFlags::empty();
        match sendmsg(&socket, &[IoSlice::new(rest)], &mut control, flags) {
            Ok(sent) => {
                rest = &rest[sent..];
                control.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads once, at most as much as fits, and adds the files that came. 0 is the end.
pub(crate) fn receive(socket: impl AsFd, bytes: &mut [u8], files: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            Ok(received) => break received.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            files.extend(came);
        }
    }
    Ok(received)
}

/// A frame of which a part may still be under way. Reading it can be given up between two pieces
/// without losing one.
#[derive(Default)]
pub(crate) struct Partial {
    bytes: [u8; FRAME],
    filled: usize,
    files: Vec<OwnedFd>,
}

/// A whole frame and the files that came with it.
pub(crate) type Framed = ([u8; FRAME], Vec<OwnedFd>);

impl Partial {
    /// Reads one piece. None if there is more to come.
    ///
    /// # Errors
    /// Those of the socket; `UnexpectedEof` at its end.
    pub(crate) fn read(&mut self, socket: impl AsFd) -> io::Result<Option<Framed>> {
        let read = receive(socket, &mut self.bytes[self.filled..], &mut self.files)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += read;
        if self.filled < FRAME {
            return Ok(None);
        }
        self.filled = 0;
        Ok(Some((self.bytes, std::mem::take(&mut self.files))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_said_is_understood_and_nothing_else() {
        let requests =
            [Request::Spawn { id: 1 }, Request::Signal { id: u64::MAX, signal: 15 }, Request::Kill { id: 1 << 40 }];
        for request in requests {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        let reports = [
            Report::Ready,
            Report::Spawned { id: 3, pid: u32::MAX },
            Report::NotSpawned { id: 3, error: 11 },
            Report::Exited { id: 3, end: End::Code(255) },
            Report::Exited { id: 3, end: End::Code(-1) },
            Report::Exited { id: 3, end: End::Signal(9) },
            Report::Gone { id: 3 },
        ];
        for report in reports {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        let mut strange = frame(99, 1, 1);
        assert_eq!((Request::decode(&strange), Report::decode(&strange)), (None, None));
        strange = frame(2, 1, i64::MAX);
        assert_eq!((Request::decode(&strange), Report::decode(&strange)), (None, None));
    }

    #[test]
    fn files_arrive_with_the_frame_that_they_were_sent_with() {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let (mut end, file) = std::io::pipe().expect("a pipe");
        send(&ours, &Request::Kill { id: 1 }.encode(), &[]).expect("it is sent");
        send(&ours, &Request::Spawn { id: 2 }.encode(), &[file.as_fd()]).expect("it is sent");
        send(&ours, &Request::Kill { id: 3 }.encode(), &[]).expect("it is sent");
        drop((ours, file));
        let mut partial = Partial::default();
        let mut came = Vec::new();
        let error = loop {
            match partial.read(&theirs) {
                Ok(Some((bytes, files))) => came.push((Request::decode(&bytes), files)),
                Ok(None) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let counts: Vec<_> = came.iter().map(|(request, files)| (*request, files.len())).collect();
        let expected = [(Request::Kill { id: 1 }, 0), (Request::Spawn { id: 2 }, 1), (Request::Kill { id: 3 }, 0)];
        assert_eq!(counts, expected.map(|(request, files)| (Some(request), files)));
        // It is the same pipe.
        let file = came.swap_remove(1).1.remove(0);
        std::io::PipeWriter::from(file).write_all(b"hello").expect("the pipe is open");
        drop(came);
        let mut text = String::new();
        end.read_to_string(&mut text).expect("it is text");
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_frame_that_comes_in_pieces_is_put_together() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let bytes = Report::Spawned { id: 77, pid: 5 }.encode();
        let mut partial = Partial::default();
        for byte in &bytes[..FRAME - 1] {
            ours.write_all(&[*byte]).expect("it is sent");
            assert!(partial.read(&theirs).expect("it is read").is_none());
        }
        ours.write_all(&bytes[FRAME - 1..]).expect("it is sent");
        let (whole, _) = partial.read(&theirs).expect("it is read").expect("it is whole");
        assert_eq!(Report::decode(&whole), Some(Report::Spawned { id: 77, pid: 5 }));
    }
}
